//! The inner loops of rounding to codes.

use half::f16;

use super::block::{BLOCK as EIGHT, BYTES, Q8Block};
use super::kind::Kind;
use crate::simd::{Kernel, LANES, Simd};

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
