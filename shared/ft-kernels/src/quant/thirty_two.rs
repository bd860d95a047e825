//! The blocks of 32 elements of GGUF files as numbers (ggml-quants.c, `dequantize_row_q4_0` and so on).

use half::f16;

use super::decode::Decode;
use crate::simd::{LANES, Simd};
use crate::widen::widen_f16;

/// The f16 at byte `at`.
#[inline(always)]
pub(super) fn half_at(block: &[u8], at: usize) -> f32 {
    widen_f16(f16::from_le_bytes([block[at], block[at + 1]]))
}

/// The lower half bytes of 16 bytes, and the upper ones.
///
/// # Safety
/// The 16 bytes must be readable.
#[inline(always)]
unsafe fn halves<S: Simd>(s: S, from: *const u8) -> [S::I; 2] {
    // SAFETY: the caller's promise.
    let bytes = unsafe { s.load_codes(from) };
    [s.masked(bytes, 15), s.lower(bytes, 4)]
}

/// The same with a fifth bit each, from bits 0 to 15 of `fifth` and from bits 16 to 31.
///
/// # Safety
/// The 16 bytes must be readable.
#[inline(always)]
unsafe fn five_bits<S: Simd>(s: S, from: *const u8, fifth: [u8; 4]) -> [S::I; 2] {
    // SAFETY: the caller's promise.
    let [low, high] = unsafe { halves(s, from) };
    let fifth = u32::from_le_bytes(fifth);
    [s.joined(low, s.higher(s.bit_a_lane(fifth & 0xffff), 4)), s.joined(high, s.higher(s.bit_a_lane(fifth >> 16), 4))]
}

/// A scale, 16 bytes of two codes each: `(code - 8) · d`.
#[derive(Clone, Copy)]
pub(super) struct Q4_0<'a>(pub &'a [[u8; 18]]);

impl Decode for Q4_0<'_> {
    const UNIT: usize = 32;

    #[inline(always)]
    fn unit<S: Simd>(self, s: S, number: usize, mut each: impl FnMut(usize, S::V)) {
        let block = &self.0[number];
        let (d, eight) = (s.splat(half_at(block, 0)), s.splat(8.0));
        // SAFETY: 16 bytes follow the scale.
        let [low, high] = unsafe { halves(s, block[2..].as_ptr()) };
        each(0, s.mul(s.sub(s.to_floats(low), eight), d));
        each(1, s.mul(s.sub(s.to_floats(high), eight), d));
    }
}

/// A scale, a least number, 16 bytes of two codes each: `code · d + m`.
#[derive(Clone, Copy)]
pub(super) struct Q4_1<'a>(pub &'a [[u8; 20]]);

impl Decode for Q4_1<'_> {
    const UNIT: usize = 32;

    #[inline(always)]
    fn unit<S: Simd>(self, s: S, number: usize, mut each: impl FnMut(usize, S::V)) {
        let block = &self.0[number];
        let (d, m) = (s.splat(half_at(block, 0)), s.splat(half_at(block, 2)));
        // SAFETY: 16 bytes follow.
        let [low, high] = unsafe { halves(s, block[4..].as_ptr()) };
        each(0, s.add(s.mul(s.to_floats(low), d), m));
        each(1, s.add(s.mul(s.to_floats(high), d), m));
    }
}

/// A scale, 32 fifth bits, 16 bytes of two codes each: `(code - 16) · d`.
#[derive(Clone, Copy)]
pub(super) struct Q5_0<'a>(pub &'a [[u8; 22]]);

impl Decode for Q5_0<'_> {
    const UNIT: usize = 32;

    #[inline(always)]
    fn unit<S: Simd>(self, s: S, number: usize, mut each: impl FnMut(usize, S::V)) {
        let block = &self.0[number];
        let (d, sixteen) = (s.splat(half_at(block, 0)), s.splat(16.0));
        let fifth = [block[2], block[3], block[4], block[5]];
        // SAFETY: 16 bytes follow.
        let [low, high] = unsafe { five_bits(s, block[6..].as_ptr(), fifth) };
        each(0, s.mul(s.sub(s.to_floats(low), sixteen), d));
        each(1, s.mul(s.sub(s.to_floats(high), sixteen), d));
    }
}

/// A scale, a least number, 32 fifth bits, 16 bytes of two codes each: `code · d + m`.
#[derive(Clone, Copy)]
pub(super) struct Q5_1<'a>(pub &'a [[u8; 24]]);

impl Decode for Q5_1<'_> {
    const UNIT: usize = 32;

    #[inline(always)]
    fn unit<S: Simd>(self, s: S, number: usize, mut each: impl FnMut(usize, S::V)) {
        let block = &self.0[number];
        let (d, m) = (s.splat(half_at(block, 0)), s.splat(half_at(block, 2)));
        let fifth = [block[4], block[5], block[6], block[7]];
        // SAFETY: 16 bytes follow.
        let [low, high] = unsafe { five_bits(s, block[8..].as_ptr(), fifth) };
        each(0, s.add(s.mul(s.to_floats(low), d), m));
        each(1, s.add(s.mul(s.to_floats(high), d), m));
    }
}

/// A scale and 32 signed bytes.
#[derive(Clone, Copy)]
pub(super) struct Q8_0<'a>(pub &'a [[u8; 34]]);

impl Decode for Q8_0<'_> {
    const UNIT: usize = 32;

    #[inline(always)]
    fn unit<S: Simd>(self, s: S, number: usize, mut each: impl FnMut(usize, S::V)) {
        let block = &self.0[number];
        let d = s.splat(half_at(block, 0));
        for v in 0..2 {
            // SAFETY: 32 bytes follow the scale.
            each(v, s.mul(unsafe { s.load_bytes(block[2 + v * LANES..].as_ptr().cast()) }, d));
        }
    }
}
