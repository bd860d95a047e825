//! A right side that lies in blocks of few bits: its numbers appear where they are packed, and nowhere else.

use std::ops::Range;

use super::turn::{copy_columns, turn_rows};
use crate::quant::{BlockRows, expand_rows};
use crate::simd::Isa;

/// Adjacent rows of a matrix in blocks, or its transposed view.
#[derive(Clone, Copy)]
pub struct BlockMat<'a> {
    source: &'a dyn BlockRows,
    /// The first row, their number, and the elements of each.
    first: usize,
    rows: usize,
    cols: usize,
    turned: bool,
}

/// Rows of the matrix that become floats at a time: those of one square of a transposition.
const ROWS: usize = 8;

impl<'a> BlockMat<'a> {
    /// The rows `first .. first + rows`, of `cols` elements each.
    pub fn new(source: &'a dyn BlockRows, first: usize, rows: usize, cols: usize) -> Self {
        Self { source, first, rows, cols, turned: false }
    }

    /// The transposed view; nothing is moved.
    #[must_use]
    pub fn t(self) -> Self {
        Self { turned: !self.turned, ..self }
    }

    /// `(rows, columns)` of the view.
    pub(super) fn shape(&self) -> (usize, usize) {
        if self.turned { (self.cols, self.rows) } else { (self.rows, self.cols) }
    }

    /// The floats that [`BlockMat::pack`] needs beside what it writes, for so many steps of `k` and so many columns.
    pub(super) fn room(&self, length: usize, columns: usize) -> usize {
        ROWS * if self.turned { length } else { columns }
    }

    /// Element `(row, column)` of the view.
    pub(super) fn element(&self, row: usize, column: usize) -> f32 {
        let (row, column) = if self.turned { (column, row) } else { (row, column) };
        let mut out = [0.0];
        expand_rows(self.source, Isa::Portable, (self.first + row, 1), (column, 1), &mut out, 1);
        out[0]
    }

    /// See [`pack_rhs`](super::pack::pack_rhs).
    pub(super) fn pack(
        &self,
        isa: Isa,
        (from, length): (usize, usize),
        panels: impl Iterator<Item = Range<usize>> + Clone,
        lanes: usize,
        (into, room): (&mut [f32], usize),
        scratch: &mut [f32],
    ) {
        let width = |panel: &Range<usize>| panel.len().next_multiple_of(lanes);
        for (panel, into) in panels.clone().zip(into.chunks_mut(room)) {
            if panel.len() < width(&panel) {
                into[..width(&panel) * length].fill(0.0);
            }
        }
        if self.turned {
            for (panel, into) in panels.zip(into.chunks_mut(room)) {
                self.pack_turned(isa, (from, length), &panel, width(&panel), into, scratch);
            }
            return;
        }
        let (Some(first), Some(last)) = (panels.clone().next(), panels.clone().last()) else { return };
        let columns = last.end - first.start;
        for k in (0..length).step_by(ROWS) {
            let count = ROWS.min(length - k);
            let rows = (self.first + from + k, count);
            expand_rows(self.source, isa, rows, (first.start, columns), &mut scratch[..count * columns], columns);
            for (panel, into) in panels.clone().zip(into.chunks_mut(room)) {
                let (width, rows) = (width(&panel), &scratch[panel.start - first.start..]);
                copy_columns(rows, columns, count, panel.len(), &mut into[k * width..], width);
            }
        }
    }

    /// One panel of the transposed view, whose columns are rows of the matrix.
    fn pack_turned(
        &self,
        isa: Isa,
        (from, length): (usize, usize),
        panel: &Range<usize>,
        width: usize,
        into: &mut [f32],
        scratch: &mut [f32],
    ) {
        for first in panel.clone().step_by(ROWS) {
            let count = ROWS.min(panel.end - first);
            let rows = (self.first + first, count);
            expand_rows(self.source, isa, rows, (from, length), &mut scratch[..count * length], length);
            turn_rows(scratch, length, count, &mut into[first - panel.start..], width);
        }
    }
}
