//! Blocks copied to floats.

use super::decode::{Decode, LONGEST_UNIT, OnBlocks};
use crate::simd::{Isa, Kernel, LANES, Simd, dispatch};

/// Writes a rectangle of a matrix: of rows that lie at even distances some adjacent columns.
pub(super) struct Rectangle<'a> {
    pub isa: Isa,
    /// The number of the first element of the first row.
    pub row: usize,
    /// From the first element of one row to that of the next.
    pub stride: usize,
    pub rows: usize,
    pub column: usize,
    pub columns: usize,
    pub out: &'a mut [f32],
    /// From one row of `out` to the next.
    pub out_stride: usize,
}

impl OnBlocks for Rectangle<'_> {
    type Output = ();

    #[inline]
    fn with<D: Decode>(self, blocks: D) {
        dispatch(self.isa, Expand { blocks, rectangle: self });
    }
}

/// A rectangle of blocks of one format.
struct Expand<'a, D> {
    blocks: D,
    rectangle: Rectangle<'a>,
}

impl<D: Decode> Kernel for Expand<'_, D> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Rectangle { row, stride, rows, column, columns, out, out_stride, .. } = self.rectangle;
        for (i, out) in out.chunks_mut(out_stride.max(1)).take(rows).enumerate() {
            let row = row + i * stride;
            numbers(s, self.blocks.of_row(row), row + column, &mut out[..columns]);
        }
    }
}

/// Writes the numbers from number `start` on.
#[inline(always)]
fn numbers<S: Simd, D: Decode>(s: S, blocks: D, start: usize, out: &mut [f32]) {
    let skip = start % D::UNIT;
    let head = if skip == 0 { 0 } else { (D::UNIT - skip).min(out.len()) };
    let (head, rest) = out.split_at_mut(head);
    if !head.is_empty() {
        part(s, blocks, start / D::UNIT, skip, head);
    }
    let first = start.div_ceil(D::UNIT);
    let mut units = rest.chunks_exact_mut(D::UNIT);
    let mut number = first;
    for unit in &mut units {
        let to = unit.as_mut_ptr();
        blocks.unit(
            s,
            number,
            #[inline(always)]
            |v, numbers| {
                // SAFETY: the vector is one of the unit's, for all of which there is room.
                unsafe { s.store(to.add(v * LANES), numbers) }
            },
        );
        number += 1;
    }
    let rest = units.into_remainder();
    if !rest.is_empty() {
        part(s, blocks, number, 0, rest);
    }
}

/// Writes some numbers of one unit, from number `skip` of it on.
#[inline(always)]
fn part<S: Simd, D: Decode>(s: S, blocks: D, number: usize, skip: usize, out: &mut [f32]) {
    let mut all = [0.0; LONGEST_UNIT];
    let to = all.as_mut_ptr();
    blocks.unit(
        s,
        number,
        #[inline(always)]
        |v, numbers| {
            // SAFETY: no unit is longer than the array.
            unsafe { s.store(to.add(v * LANES), numbers) }
        },
    );
    out.copy_from_slice(&all[skip..][..out.len()]);
}
