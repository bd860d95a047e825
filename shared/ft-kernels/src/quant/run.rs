//! Rows of a matrix whose blocks lie in memory.

use super::blocks::Blocks;
use super::expand::Rectangle;
use crate::simd::Isa;

/// A matrix whose rows lie in blocks in memory, wherever: products read them there.
pub trait BlockRows: Sync {
    /// Row `row` and those that follow it at even distances in blocks of one format: at least that one.
    fn run(&self, row: usize) -> Run<'_>;
}

/// Rows that lie at even distances in blocks.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// What they lie in.
    pub blocks: Blocks<'a>,
    /// The number, in the blocks, of the first row's first element.
    pub start: usize,
    /// From the first element of one row to that of the next.
    pub stride: usize,
    /// The rows.
    pub count: usize,
}

/// Writes the columns `column .. column + columns` of the rows from `first` on to as many rows of `out`, which are
/// `stride` apart, on this thread and with these instructions, which change no bit.
///
/// # Panics
/// Where the matrix has no such rows or columns: that is a fault of the program, not of its input.
pub fn expand_rows(
    source: &dyn BlockRows,
    isa: Isa,
    (first, rows): (usize, usize),
    (column, columns): (usize, usize),
    out: &mut [f32],
    stride: usize,
) {
    let mut done = 0;
    while done < rows && columns > 0 {
        let run = source.run(first + done);
        let rows = run.count.min(rows - done);
        let out = &mut out[done * stride..];
        let Run { blocks, start: row, stride: apart, .. } = run;
        blocks.visit(Rectangle { isa, row, stride: apart, rows, column, columns, out, out_stride: stride });
        done += rows;
    }
}
