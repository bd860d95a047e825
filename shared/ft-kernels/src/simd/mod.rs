//! Sixteen lanes of `f32` on whatever the machine has, with the same bits everywhere.
//!
//! A fused operator's inner part is a [`Kernel`]: code generic over [`Simd`], which [`dispatch`]
//! compiles three times and runs with the best instruction set of this machine. All three have 16
//! lanes (two registers on AVX2), fused multiply-adds, and one order in which the lanes are summed,
//! so that results do not depend on the machine.

mod portable;
mod product;
#[cfg(target_arch = "x86_64")]
mod sums;
#[cfg(target_arch = "x86_64")]
mod unpack;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::atomic::{AtomicU8, Ordering};

pub use portable::Portable;
pub use product::Product;

/// The number of lanes of a vector.
pub const LANES: usize = 16;

/// A set of instructions on vectors of [`LANES`] numbers.
///
/// A value of an implementing type is the proof that the machine has these instructions; only
/// [`dispatch`] makes one.
pub trait Simd: Copy + Send + Sync {
    /// Sixteen numbers.
    type V: Copy;
    /// How many of them the machine's registers hold.
    const REGISTERS: usize;

    /// Loads 16 numbers.
    ///
    /// # Safety
    /// They must be readable.
    unsafe fn load(self, from: *const f32) -> Self::V;
    /// Stores 16 numbers.
    ///
    /// # Safety
    /// The 16 places must be writable.
    unsafe fn store(self, to: *mut f32, v: Self::V);
    /// One number in every lane.
    fn splat(self, x: f32) -> Self::V;
    /// `a + b`.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`.
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// The square root.
    fn sqrt(self, a: Self::V) -> Self::V;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `c - a * b`, rounded once.
    fn fnma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a` where `a > b`, else `b` (so `b` where one is not a number).
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `yes` where `a < b`, else `no`.
    fn select_lt(self, a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V;
    /// 2 to the power n, for integers n of -126 to 127 given as the float `n + 1.5 * 2^23`.
    fn pow2_shifted(self, n: Self::V) -> Self::V;
    /// The sum of the lanes, halves added to halves.
    fn sum(self, v: Self::V) -> f32;
    /// The entries of a table of 16 numbers that 8 bytes name, two each, the upper half byte first.
    ///
    /// # Safety
    /// The 8 bytes must be readable.
    unsafe fn look_up(self, table: Self::V, from: *const u8) -> Self::V;
    /// Sixteen signed bytes as numbers.
    ///
    /// # Safety
    /// They must be readable.
    unsafe fn load_bytes(self, from: *const i8) -> Self::V;
    /// The largest lane.
    fn max_lane(self, v: Self::V) -> f32;
    /// A matrix product of small size; see [`Product`].
    ///
    /// # Safety
    /// As [`Product`] says.
    unsafe fn product(self, product: &Product);

    /// [`Self::sum`] of each of 16 vectors, which lie one after the other.
    ///
    /// # Safety
    /// The 256 numbers must be readable and the 16 places writable.
    #[inline(always)]
    unsafe fn sum_each(self, from: *const f32, to: *mut f32) {
        for i in 0..LANES {
            // SAFETY: the caller's promise.
            unsafe { *to.add(i) = self.sum(self.load(from.add(i * LANES))) };
        }
    }

    /// The sum of four vectors' lanes.
    #[inline(always)]
    fn sum4(self, v: [Self::V; 4]) -> f32 {
        self.sum(self.add(self.add(v[0], v[1]), self.add(v[2], v[3])))
    }

    /// Loads from the front of a slice, with `fill` in the lanes past its end.
    #[inline(always)]
    fn load_part(self, from: &[f32], fill: f32) -> Self::V {
        if from.len() >= LANES {
            // SAFETY: the slice has 16 elements.
            unsafe { self.load(from.as_ptr()) }
        } else {
            let mut lanes = [fill; LANES];
            lanes[..from.len()].copy_from_slice(from);
            // SAFETY: the array has 16 elements.
            unsafe { self.load(lanes.as_ptr()) }
        }
    }

    /// Stores to the front of a slice as many lanes as it has room for.
    #[inline(always)]
    fn store_part(self, to: &mut [f32], v: Self::V) {
        if to.len() >= LANES {
            // SAFETY: the slice has 16 elements.
            unsafe { self.store(to.as_mut_ptr(), v) }
        } else {
            let mut lanes = [0f32; LANES];
            // SAFETY: the array has 16 elements.
            unsafe { self.store(lanes.as_mut_ptr(), v) }
            to.copy_from_slice(&lanes[..to.len()]);
        }
    }
}

/// A piece of work in vectors. `run` must be marked `#[inline(always)]`, and so must everything
/// generic that it calls, for only then it is compiled with the instruction set's features.
pub trait Kernel {
    /// What it returns.
    type Output;
    /// Does the work.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Isa {
    /// No assumption about the machine. Slow on x86, where a fused multiply-add without the
    /// instruction is a function call.
    Portable = 1,
    /// AVX2 with FMA.
    Avx2 = 2,
    /// AVX-512 (foundation, and DQ).
    Avx512 = 3,
}

/// What a test asked for; 0 is the best there is.
static FORCED: AtomicU8 = AtomicU8::new(0);

/// Makes every later [`dispatch`] use this instruction set, or the best again (`None`). The
/// results are the same; tests use it to say so.
pub fn force(isa: Option<Isa>) {
    let wanted = isa.filter(|&isa| isa <= Isa::best());
    FORCED.store(wanted.map_or(0, |isa| isa as u8), Ordering::Relaxed);
}

impl Isa {
    /// All of them, the plainest first.
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];

    /// The best instruction set of this machine.
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// Itself where this machine has it, else the best that it has.
    #[must_use]
    pub fn here(self) -> Self {
        self.min(Self::best())
    }
}

/// Runs a kernel with the machine's best instruction set.
pub fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    let isa = match FORCED.load(Ordering::Relaxed) {
        1 => Isa::Portable,
        2 => Isa::Avx2,
        3 => Isa::Avx512,
        _ => Isa::best(),
    };
    match isa {
        // SAFETY: `Isa::best` saw these features, and `force` allows none beyond them.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { x86::run_avx512(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { x86::run_avx2(kernel) },
        _ => kernel.run(Portable::new()),
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::{Isa, force};
    use std::sync::Mutex;

    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    /// Runs the same work with every instruction set that this machine has and says whether all
    /// the results are equal.
    pub fn same_on_every_isa<R: PartialEq>(work: impl Fn() -> R) -> bool {
        let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let results: Vec<R> = [Isa::Portable, Isa::Avx2, Isa::Avx512]
            .map(|isa| {
                force(Some(isa));
                work()
            })
            .into();
        force(None);
        results.windows(2).all(|pair| pair[0] == pair[1])
    }
}
