//! Sixteen lanes as an array, for machines of which nothing is known.

use super::vectors::{LANES, Simd, TileProduct};

/// Plain Rust; the compiler may vectorise it for the target it was told.
#[derive(Clone, Copy)]
pub struct Portable(());

impl Portable {
    /// Needs no proof: this runs everywhere.
    pub fn new() -> Self {
        Self(())
    }
}

impl Default for Portable {
    fn default() -> Self {
        Self::new()
    }
}

type V = [f32; LANES];

#[inline(always)]
fn map2(a: V, b: V, f: impl Fn(f32, f32) -> f32) -> V {
    std::array::from_fn(|i| f(a[i], b[i]))
}

/// Folds halves onto halves: 16, 8, 4, 2, 1.
#[inline(always)]
fn fold(v: V, f: impl Fn(f32, f32) -> f32) -> f32 {
    let eight: [f32; 8] = std::array::from_fn(|i| f(v[i], v[i + 8]));
    let four: [f32; 4] = std::array::from_fn(|i| f(eight[i], eight[i + 4]));
    f(f(four[0], four[2]), f(four[1], four[3]))
}

impl Simd for Portable {
    type V = V;
    type I = [u32; LANES];
    const REGISTERS: usize = 8;

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> V {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<V>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: V) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<V>().write_unaligned(v) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> V {
        [x; LANES]
    }

    #[inline(always)]
    fn add(self, a: V, b: V) -> V {
        map2(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: V, b: V) -> V {
        map2(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: V, b: V) -> V {
        map2(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, a: V, b: V) -> V {
        map2(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn sqrt(self, a: V) -> V {
        a.map(f32::sqrt)
    }

    #[inline(always)]
    fn fma(self, a: V, b: V, c: V) -> V {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }

    #[inline(always)]
    fn fnma(self, a: V, b: V, c: V) -> V {
        std::array::from_fn(|i| (-a[i]).mul_add(b[i], c[i]))
    }

    #[inline(always)]
    fn max(self, a: V, b: V) -> V {
        map2(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn select_lt(self, a: V, b: V, yes: V, no: V) -> V {
        std::array::from_fn(|i| if a[i] < b[i] { yes[i] } else { no[i] })
    }

    #[inline(always)]
    fn pow2_shifted(self, n: V) -> V {
        n.map(|n| f32::from_bits((n.to_bits() << 23).wrapping_add(0x3f80_0000)))
    }

    #[inline(always)]
    fn sum(self, v: V) -> f32 {
        fold(v, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn look_up(self, table: V, from: *const u8) -> V {
        // SAFETY: the caller's promise.
        let bytes = unsafe { from.cast::<[u8; 8]>().read_unaligned() };
        std::array::from_fn(|i| {
            let byte = bytes[i / 2];
            table[usize::from(if i % 2 == 0 { byte >> 4 } else { byte & 15 })]
        })
    }

    #[inline(always)]
    unsafe fn load_bytes(self, from: *const i8) -> V {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<[i8; LANES]>().read_unaligned() }.map(f32::from)
    }

    #[inline(always)]
    unsafe fn load_codes(self, from: *const u8) -> Self::I {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<[u8; LANES]>().read_unaligned() }.map(u32::from)
    }

    #[inline(always)]
    fn bit_a_lane(self, bits: u32) -> Self::I {
        std::array::from_fn(|i| bits >> i & 1)
    }

    #[inline(always)]
    fn lower(self, a: Self::I, by: u32) -> Self::I {
        a.map(|a| a >> by)
    }

    #[inline(always)]
    fn higher(self, a: Self::I, by: u32) -> Self::I {
        a.map(|a| a << by)
    }

    #[inline(always)]
    fn masked(self, a: Self::I, mask: u32) -> Self::I {
        a.map(|a| a & mask)
    }

    #[inline(always)]
    fn joined(self, a: Self::I, b: Self::I) -> Self::I {
        std::array::from_fn(|i| a[i] | b[i])
    }

    #[inline(always)]
    fn to_floats(self, a: Self::I) -> V {
        a.map(|a| a as f32)
    }

    #[inline(always)]
    fn max_lane(self, v: V) -> f32 {
        fold(v, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    unsafe fn product(self, product: &TileProduct) {
        // SAFETY: the caller's promise.
        unsafe { product.run::<Self, 4, 1>(self) }
    }
}
