//! The inner loops: to codes and back.

use half::f16;

use super::block::{BLOCK as EIGHT, BYTES, Q8Block, STEP};
use super::kind::Kind;
use crate::simd::{Kernel, LANES, Simd};

/// Expands whole blocks of four-bit codes; the last block may be short.
pub struct Expand4<'a> {
    pub kind: Kind,
    pub block: usize,
    pub packed: &'a [u8],
    pub scales: &'a [f32],
    pub out: &'a mut [f32],
}

impl Kernel for Expand4<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let table = s.load_part(self.kind.table(), 0.0);
        let blocks = self.out.chunks_mut(self.block).zip(self.packed.chunks(self.block / 2)).zip(self.scales);
        for ((out, packed), &scale) in blocks {
            // The products once for the table, not once for each element: the same bits.
            let scaled = s.mul(table, s.splat(scale));
            let (whole, rest) = out.split_at_mut(out.len() / LANES * LANES);
            for (to, from) in whole.chunks_exact_mut(LANES).zip(packed.chunks_exact(LANES / 2)) {
                // SAFETY: 8 bytes, and room for 16 numbers.
                unsafe { s.store(to.as_mut_ptr(), s.look_up(scaled, from.as_ptr())) };
            }
            if !rest.is_empty() {
                let mut bytes = [0; LANES / 2];
                let from = &packed[whole.len() / 2..];
                let n = from.len().min(bytes.len());
                bytes[..n].copy_from_slice(&from[..n]);
                // SAFETY: the array has 8 bytes.
                s.store_part(rest, unsafe { s.look_up(scaled, bytes.as_ptr()) });
            }
        }
    }
}

/// Rounds whole blocks to four-bit codes; the last block may be short.
pub struct Round4<'a> {
    pub kind: Kind,
    pub block: usize,
    pub values: &'a [f32],
    pub packed: &'a mut [u8],
    pub absmax: &'a mut [f32],
}

impl Kernel for Round4<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (bounds, order) = (self.kind.bounds(), self.kind.order());
        let (zero, one) = (s.splat(0.0), s.splat(1.0));
        let blocks = self.values.chunks(self.block).zip(self.packed.chunks_mut(self.block / 2)).zip(self.absmax);
        for ((values, packed), absmax) in blocks {
            *absmax = largest(s, values);
            let least = absmax.max(1e-38);
            let (inverse, divisor) = (s.splat(1.0 / least), s.splat(least));
            // bitsandbytes multiplies a whole block and divides a short one.
            let whole = values.len() == self.block;
            for (values, packed) in values.chunks(LANES).zip(packed.chunks_mut(LANES / 2)) {
                let x = s.load_part(values, 0.0);
                let x = if whole { s.mul(x, inverse) } else { s.div(x, divisor) };
                // How many of the middles lie below it: its place among the sorted numbers.
                let above = |count, &bound: &f32| s.add(count, s.select_lt(s.splat(bound), x, one, zero));
                let mut places = [0.0; LANES];
                s.store_part(&mut places, bounds.iter().fold(zero, above));
                for (byte, pair) in packed.iter_mut().zip(places.chunks_exact(2)) {
                    *byte = order[pair[0] as usize & 15] << 4 | order[pair[1] as usize & 15];
                }
            }
        }
    }
}

/// The largest magnitude; 0 of nothing.
#[inline(always)]
fn largest<S: Simd>(s: S, values: &[f32]) -> f32 {
    let mut most = s.splat(0.0);
    for part in values.chunks(LANES) {
        let x = s.load_part(part, 0.0);
        most = s.max(most, s.max(x, s.sub(s.splat(0.0), x)));
    }
    s.max_lane(most)
}

/// Expands blocks of 32 bytes; the last may be used in part.
pub struct Expand8<'a> {
    pub blocks: &'a [Q8Block],
    pub out: &'a mut [f32],
}

impl Kernel for Expand8<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (out, block) in self.out.chunks_mut(EIGHT).zip(self.blocks) {
            let scale = s.splat(f16::from_le_bytes([block[0], block[1]]).to_f32());
            for (to, from) in out.chunks_mut(LANES).zip(block[2..].chunks_exact(LANES)) {
                // SAFETY: 16 bytes.
                s.store_part(to, s.mul(unsafe { s.load_bytes(from.as_ptr().cast()) }, scale));
            }
        }
    }
}

/// Rounds blocks of 32 elements to bytes; the last may be short.
pub struct Round8<'a> {
    pub values: &'a [f32],
    pub blocks: &'a mut [Q8Block],
}

impl Kernel for Round8<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (values, block) in self.values.chunks(EIGHT).zip(self.blocks) {
            let scale = largest(s, values) / 127.0;
            let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
            *block = [0; BYTES];
            block[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
            for (byte, &x) in block[2..].iter_mut().zip(values) {
                *byte = (x * inverse).round() as i8 as u8;
            }
        }
    }
}

/// Expands bytes of one row, or of a piece of it.
pub struct ExpandRow<'a> {
    pub codes: &'a [i8],
    pub scale: f32,
    pub out: &'a mut [f32],
}

impl Kernel for ExpandRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (x, &code) in self.out.iter_mut().zip(self.codes) {
            // Two roundings, as in bitsandbytes.
            *x = f32::from(code) * self.scale * STEP;
        }
    }
}
