//! bitsandbytes' codes, and plain floats, as numbers.

use super::block::STEP;
use super::decode::Decode;
use super::kind::Kind;
use super::scales::Scales;
use crate::simd::{LANES, Simd};

/// Four bits an element.
#[derive(Clone, Copy)]
pub(super) struct Four<'a> {
    table: &'a [f32; 16],
    /// How many units share a scale, as a power of two.
    units: u32,
    packed: &'a [u8],
    scales: Scales<'a>,
}

/// Elements of a unit: those of the smallest block, and whole ones of every block of a product's inner dimension of some
/// hundreds.
const UNIT: usize = 32;

impl<'a> Four<'a> {
    /// Blocks of `block` elements: the unit times a power of two.
    pub fn new(kind: Kind, block: usize, packed: &'a [u8], scales: Scales<'a>) -> Self {
        Self { table: kind.table(), units: (block / UNIT).trailing_zeros(), packed, scales }
    }
}

impl Decode for Four<'_> {
    const UNIT: usize = UNIT;

    #[inline(always)]
    fn unit<S: Simd>(self, s: S, number: usize, mut each: impl FnMut(usize, S::V)) {
        // The products once for the table, not once for each element: the same bits.
        let scale = s.splat(self.scales.of(number >> self.units));
        let scaled = s.mul(s.load_part(self.table, 0.0), scale);
        let mut short = [0; UNIT / 2];
        let bytes = front(&self.packed[number * UNIT / 2..], UNIT / 2, &mut short);
        for v in 0..UNIT / LANES {
            // SAFETY: there are as many bytes as the unit's vectors name.
            each(v, unsafe { s.look_up(scaled, bytes.as_ptr().add(v * LANES / 2)) });
        }
    }
}

/// The first `count` bytes: where there are fewer, as at the end of a matrix, with zeros behind.
#[inline(always)]
fn front<'b>(bytes: &'b [u8], count: usize, short: &'b mut [u8]) -> &'b [u8] {
    if bytes.len() >= count {
        return &bytes[..count];
    }
    short[..bytes.len()].copy_from_slice(bytes);
    &short[..count]
}

/// A signed byte an element and a scale a row: `code · scale / 127`, with bitsandbytes' two roundings.
#[derive(Clone, Copy)]
pub(super) struct Bytes<'a> {
    pub codes: &'a [u8],
    pub scales: &'a [f32],
    pub columns: usize,
    /// Of the row at hand.
    pub scale: f32,
}

impl Decode for Bytes<'_> {
    const UNIT: usize = LANES;

    #[inline(always)]
    fn unit<S: Simd>(self, s: S, number: usize, mut each: impl FnMut(usize, S::V)) {
        let mut short = [0; LANES];
        let bytes = front(&self.codes[number * LANES..], LANES, &mut short);
        // SAFETY: there are 16 bytes.
        let codes = unsafe { s.load_bytes(bytes.as_ptr().cast()) };
        each(0, s.mul(s.mul(codes, s.splat(self.scale)), s.splat(STEP)));
    }

    #[inline(always)]
    fn of_row(self, start: usize) -> Self {
        Self { scale: self.scales[start / self.columns], ..self }
    }
}

/// Floats of `N` bytes.
#[derive(Clone, Copy)]
pub(super) struct Floats<'a, F, const N: usize> {
    pub all: &'a [[u8; N]],
    pub widen: F,
}

impl<F: Fn([u8; N]) -> f32 + Copy + Send + Sync, const N: usize> Decode for Floats<'_, F, N> {
    const UNIT: usize = LANES;

    #[inline(always)]
    fn unit<S: Simd>(self, s: S, number: usize, mut each: impl FnMut(usize, S::V)) {
        let mut lanes = [0.0; LANES];
        for (lane, x) in lanes.iter_mut().zip(&self.all[number * LANES..]) {
            *lane = (self.widen)(*x);
        }
        // SAFETY: the array has 16 elements.
        each(0, unsafe { s.load(lanes.as_ptr()) });
    }
}
