//! The blocks of 256 elements of GGUF files as numbers (ggml-quants.c, `dequantize_row_q2_K` and so on).

use super::decode::Decode;
use super::thirty_two::half_at;
use crate::simd::{LANES, Simd};

/// 32 bytes of a block, from byte `at` on.
#[inline(always)]
fn two<S: Simd>(s: S, block: &[u8], at: usize) -> [S::I; 2] {
    let bytes = &block[at..at + 2 * LANES];
    // SAFETY: the slice has 32 bytes.
    unsafe { [s.load_codes(bytes.as_ptr()), s.load_codes(bytes[LANES..].as_ptr())] }
}

/// Scale and least number of part `j` of 8, six bits each, packed into 12 bytes.
#[inline(always)]
fn six_bits(packed: &[u8], j: usize) -> (f32, f32) {
    let (scale, least) = if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        (packed[j + 4] & 15 | packed[j - 4] >> 6 << 4, packed[j + 4] >> 4 | packed[j] >> 6 << 4)
    };
    (f32::from(scale), f32::from(least))
}

/// 16 bytes of scale and least number, four bits each; 64 bytes of four codes each; d and dmin: `d·s · code - dmin·m`.
#[derive(Clone, Copy)]
pub(super) struct Q2K<'a>(pub &'a [[u8; 84]]);

impl Decode for Q2K<'_> {
    const UNIT: usize = 256;

    #[inline(always)]
    fn unit<S: Simd>(self, s: S, number: usize, mut each: impl FnMut(usize, S::V)) {
        let block = &self.0[number];
        let (d, dmin) = (half_at(block, 80), half_at(block, 82));
        for half in 0..2 {
            let bytes = two(s, block, 16 + 32 * half);
            for j in 0..4 {
                for (part, bytes) in bytes.into_iter().enumerate() {
                    let v = 8 * half + 2 * j + part;
                    let scales = block[v];
                    let scale = s.splat(d * f32::from(scales & 15));
                    let least = s.splat(dmin * f32::from(scales >> 4));
                    let code = s.to_floats(s.masked(s.lower(bytes, 2 * j as u32), 3));
                    each(v, s.sub(s.mul(scale, code), least));
                }
            }
        }
    }
}

/// 32 bytes of third bits; 64 bytes of four codes each; 12 bytes of 16 scales of six bits; d: `d·(s - 32) · (code - 4)`.
#[derive(Clone, Copy)]
pub(super) struct Q3K<'a>(pub &'a [[u8; 110]]);

impl Decode for Q3K<'_> {
    const UNIT: usize = 256;

    #[inline(always)]
    fn unit<S: Simd>(self, s: S, number: usize, mut each: impl FnMut(usize, S::V)) {
        let block = &self.0[number];
        let d = half_at(block, 108);
        let thirds = two(s, block, 0);
        let four = s.splat(4.0);
        for half in 0..2 {
            let bytes = two(s, block, 32 + 32 * half);
            for j in 0..4 {
                for part in 0..2 {
                    let v = 8 * half + 2 * j + part;
                    // The scales' lower four bits lie in 8 bytes, the upper two in 4 more.
                    let low = if v < 8 { block[96 + v] & 15 } else { block[96 + v - 8] >> 4 };
                    let high = block[104 + v % 4] >> (2 * (v / 4)) & 3;
                    let scale = s.splat(d * (f32::from(low | high << 4) - 32.0));
                    let third = s.masked(s.lower(thirds[part], (4 * half + j) as u32), 1);
                    let code = s.joined(s.masked(s.lower(bytes[part], 2 * j as u32), 3), s.higher(third, 2));
                    each(v, s.mul(scale, s.sub(s.to_floats(code), four)));
                }
            }
        }
    }
}

/// d and dmin; 12 bytes of eight scales and least numbers; 128 bytes of two codes each: `d·s · code - dmin·m`.
#[derive(Clone, Copy)]
pub(super) struct Q4K<'a>(pub &'a [[u8; 144]]);

impl Decode for Q4K<'_> {
    const UNIT: usize = 256;

    #[inline(always)]
    fn unit<S: Simd>(self, s: S, number: usize, mut each: impl FnMut(usize, S::V)) {
        let block = &self.0[number];
        let (d, dmin) = (half_at(block, 0), half_at(block, 2));
        for j in 0..4 {
            let bytes = two(s, block, 16 + 32 * j);
            for upper in 0..2 {
                let (scale, least) = six_bits(&block[4..16], 2 * j + upper);
                let (scale, least) = (s.splat(d * scale), s.splat(dmin * least));
                for (part, bytes) in bytes.into_iter().enumerate() {
                    let code = if upper == 0 { s.masked(bytes, 15) } else { s.lower(bytes, 4) };
                    each(4 * j + 2 * upper + part, s.sub(s.mul(scale, s.to_floats(code)), least));
                }
            }
        }
    }
}

/// As [`Q4K`], with 32 bytes of fifth bits before the codes.
#[derive(Clone, Copy)]
pub(super) struct Q5K<'a>(pub &'a [[u8; 176]]);

impl Decode for Q5K<'_> {
    const UNIT: usize = 256;

    #[inline(always)]
    fn unit<S: Simd>(self, s: S, number: usize, mut each: impl FnMut(usize, S::V)) {
        let block = &self.0[number];
        let (d, dmin) = (half_at(block, 0), half_at(block, 2));
        let fifths = two(s, block, 16);
        for j in 0..4 {
            let bytes = two(s, block, 48 + 32 * j);
            for upper in 0..2 {
                let (scale, least) = six_bits(&block[4..16], 2 * j + upper);
                let (scale, least) = (s.splat(d * scale), s.splat(dmin * least));
                for part in 0..2 {
                    let fifth = s.masked(s.lower(fifths[part], (2 * j + upper) as u32), 1);
                    let low = if upper == 0 { s.masked(bytes[part], 15) } else { s.lower(bytes[part], 4) };
                    let code = s.to_floats(s.joined(low, s.higher(fifth, 4)));
                    each(4 * j + 2 * upper + part, s.sub(s.mul(scale, code), least));
                }
            }
        }
    }
}

/// 128 bytes of two lower halves each; 64 bytes of four upper pairs of bits; 16 signed scales; d:
/// `d·s · (code - 32)`.
#[derive(Clone, Copy)]
pub(super) struct Q6K<'a>(pub &'a [[u8; 210]]);

impl Decode for Q6K<'_> {
    const UNIT: usize = 256;

    #[inline(always)]
    fn unit<S: Simd>(self, s: S, number: usize, mut each: impl FnMut(usize, S::V)) {
        let block = &self.0[number];
        let (d, half_way) = (half_at(block, 208), s.splat(32.0));
        for half in 0..2 {
            let low = [two(s, block, 64 * half), two(s, block, 64 * half + 32)];
            let high = two(s, block, 128 + 32 * half);
            for j in 0..4 {
                for part in 0..2 {
                    let v = 8 * half + 2 * j + part;
                    let scale = s.splat(d * f32::from(block[192 + v].cast_signed()));
                    let low = low[j % 2][part];
                    let low = if j < 2 { s.masked(low, 15) } else { s.lower(low, 4) };
                    let pair = s.masked(s.lower(high[part], 2 * j as u32), 3);
                    let code = s.to_floats(s.joined(low, s.higher(pair, 4)));
                    each(v, s.mul(scale, s.sub(code, half_way)));
                }
            }
        }
    }
}
