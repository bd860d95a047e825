//! A product in tiles: which thread computes what, and in which order.

use std::ops::Range;

use rayon::prelude::*;

use super::micro::{Block, Kernels};
use super::pack::{self, pack_lhs, pack_rhs};
use super::tail::{Pieces, Place, Tail};
use super::{BLOCKS_AT_A_TIME, Mat, MatMut, PANELS_A_TILE, Rhs};

/// The product for the rows `first .. first + rows`.
pub struct Product<'a> {
    pub kernels: &'static Kernels,
    pub a: Mat<'a, f32>,
    pub b: Rhs<'a>,
    pub first: usize,
    pub rows: usize,
    pub threads: usize,
    /// The length of the blocks of the inner dimension; the last one may be shorter.
    pub step: usize,
    /// `A` is read where it lies, not packed.
    pub in_place: bool,
    /// What follows the last block.
    pub tail: &'a Tail<'a>,
}

/// Where tasks write: each its own tile of `C`.
#[derive(Clone, Copy)]
struct Out {
    start: *mut f32,
    stride: usize,
}
// SAFETY: tasks write disjoint tiles (see `Product::multiply`).
unsafe impl Send for Out {}
unsafe impl Sync for Out {}

/// A tile of `C` that one task computes: a range of row panels and one of column panels.
struct Tile {
    rows: Range<usize>,
    cols: Range<usize>,
}

impl Product<'_> {
    pub fn run(&self, c: &mut MatMut<'_>, accumulate: bool, packed: &mut [f32]) {
        let out = Out { start: c.data[self.first * c.stride..].as_mut_ptr(), stride: c.stride };
        let blocks = self.a.cols.div_ceil(self.step);
        for first in (0..blocks).step_by(BLOCKS_AT_A_TIME) {
            let blocks = first..(first + BLOCKS_AT_A_TIME).min(blocks);
            if !self.in_place {
                self.pack_rows(blocks.clone(), packed);
            }
            self.multiply(blocks, packed, out, accumulate);
        }
    }

    /// Where block `i` of the inner dimension begins, and its length.
    fn block(&self, i: usize) -> (usize, usize) {
        let from = i * self.step;
        (from, self.step.min(self.a.cols - from))
    }

    fn row_panels(&self) -> usize {
        self.rows.div_ceil(self.kernels.rows)
    }

    /// The rows of panel `p`: as even as can be, for a short last panel would waste lanes.
    fn panel_rows(&self, p: usize) -> Range<usize> {
        let panels = self.row_panels();
        p * self.rows / panels..(p + 1) * self.rows / panels
    }

    /// Packs the rows of these blocks, block after block, panel after panel.
    fn pack_rows(&self, blocks: Range<usize>, packed: &mut [f32]) {
        let panels = self.row_panels();
        let room = self.kernels.rows * self.step;
        let pack = |(i, into): (usize, &mut [f32])| {
            let (from, length) = self.block(blocks.start + i / panels);
            let rows = self.panel_rows(i % panels);
            pack_lhs(&self.a, self.first + rows.start, rows.len(), from, length, into);
        };
        let used = &mut packed[..blocks.len() * panels * room];
        if self.threads == 1 {
            used.chunks_mut(room).enumerate().for_each(pack);
        } else {
            used.par_chunks_mut(room).with_min_len(8).enumerate().for_each(pack);
        }
    }

    /// Panel `p` of a block of `A`, packed (`packed` begins with the block) or in place, with its strides from
    /// row to row and from `k` to `k`.
    fn lhs<'p>(
        &'p self,
        p: usize,
        rows: &Range<usize>,
        (from, length): (usize, usize),
        packed: &'p [f32],
    ) -> (&'p [f32], (usize, usize)) {
        if self.in_place {
            let (row, col) = (self.a.row_stride, self.a.col_stride);
            (&self.a.data[(self.first + rows.start) * row + from * col..], (row, col))
        } else {
            (&packed[p * self.kernels.rows * self.step..][..rows.len() * length], (1, rows.len()))
        }
    }

    /// Tiles of even size, a multiple of the threads in number, that cover the result.
    fn tiles(&self) -> Vec<Tile> {
        let panels = self.b.shape().1.div_ceil(self.kernels.cols);
        let wanted = panels.div_ceil(PANELS_A_TILE).next_multiple_of(self.threads);
        let across = wanted.min(panels);
        // Too few columns to share out: share the rows too, and pack those columns more than once.
        let down = if across < self.threads { self.threads.div_ceil(across).min(self.row_panels()) } else { 1 };
        let rows = self.row_panels();
        (0..across * down)
            .map(|i| {
                let (x, y) = (i % across, i / across);
                Tile {
                    rows: y * rows / down..(y + 1) * rows / down,
                    cols: x * panels / across..(x + 1) * panels / across,
                }
            })
            .collect()
    }

    fn multiply(&self, blocks: Range<usize>, packed: &[f32], out: Out, accumulate: bool) {
        let tiles = self.tiles();
        let last = self.a.cols.div_ceil(self.step) - 1;
        let of_a_block = if self.in_place { 0 } else { self.row_panels() * self.kernels.rows * self.step };
        let work = |tile: &Tile| {
            for (i, block) in blocks.clone().enumerate() {
                let tail = (block == last && !self.tail.is_empty()).then_some(self.tail);
                let packed = &packed[i * of_a_block..];
                let block = Step { block: self.block(block), packed, accumulate: accumulate || block > 0, tail };
                for first in tile.cols.clone().step_by(PANELS_A_TILE) {
                    let panels = first..(first + PANELS_A_TILE).min(tile.cols.end);
                    self.multiply_group(tile.rows.clone(), panels, &block, out);
                }
            }
        };
        if self.threads == 1 {
            tiles.iter().for_each(work);
        } else {
            tiles.par_iter().with_max_len(1).for_each(work);
        }
    }

    /// The columns of a panel of `B`.
    fn panel_columns(&self, panel: usize) -> Range<usize> {
        let (col, n) = (panel * self.kernels.cols, self.b.shape().1);
        col..(col + self.kernels.cols).min(n)
    }

    /// One block of some row panels and so many column panels as are packed at a time.
    fn multiply_group(&self, rows: Range<usize>, panels: Range<usize>, step: &Step<'_>, out: Out) {
        let (_, length) = step.block;
        let room = self.kernels.cols * length;
        let pieces = step
            .tail
            .map(|tail| tail.pieces(panels.clone().map(|panel| self.panel_columns(panel)), self.kernels.lanes));
        let thin_room = pieces.as_ref().map_or(0, Pieces::room);
        let rows_room = pack::rhs_scratch(&self.b, length, panels.len() * self.kernels.cols);
        pack::with_scratch(panels.len() * room + thin_room + rows_room, |scratch| {
            let (columns, rest) = scratch.split_at_mut(panels.len() * room);
            let (thin, of_rows) = rest.split_at_mut(thin_room);
            let Kernels { isa, lanes, .. } = *self.kernels;
            let of_panels = panels.clone().map(|panel| self.panel_columns(panel));
            pack_rhs(&self.b, isa, step.block, of_panels, lanes, (&mut *columns, room), of_rows);
            if let Some(pieces) = &pieces {
                pieces.pack(self.kernels.lanes, thin);
            }
            for p in rows {
                let rows = self.panel_rows(p);
                let (lhs, lhs_strides) = self.lhs(p, &rows, step.block, step.packed);
                for (i, (panel, rhs)) in panels.clone().zip(columns.chunks(room)).enumerate() {
                    let cols = self.panel_columns(panel);
                    // SAFETY: `matmul` checked that C holds [m, n]; the tiles of `tiles` are disjoint ranges of
                    // its rows and columns, so no other task touches these elements, and no reference to them lives.
                    unsafe {
                        let c = out.start.add(rows.start * out.stride + cols.start);
                        self.kernels.run(&Block {
                            rows: rows.len(),
                            cols: cols.len(),
                            length,
                            lhs,
                            lhs_strides,
                            rhs,
                            c,
                            stride: out.stride,
                            accumulate: step.accumulate,
                        });
                        if let Some(pieces) = &pieces {
                            let rows = self.first + rows.start..self.first + rows.end;
                            pieces.finish(i, self.kernels, &Place { rows, cols, c, stride: out.stride }, thin);
                        }
                    }
                }
            }
        });
    }
}

/// One block of the inner dimension.
struct Step<'a> {
    /// Where it begins, and its length.
    block: (usize, usize),
    /// Its rows of `A`, where they are packed.
    packed: &'a [f32],
    /// Whether it is added to what stands in `C`.
    accumulate: bool,
    /// What follows it, where it is the last.
    tail: Option<&'a Tail<'a>>,
}
