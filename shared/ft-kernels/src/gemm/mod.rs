//! Matrix products whose rows do not know their neighbours.
//!
//! `C = A·B` or `C += A·B` in f32, where `A` is f32 and `B` is f32, bf16 or f16 (widened
//! while it is packed, so a frozen matrix is never stored twice). The scheme is that of
//! Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008):
//! blocks of the inner dimension, packed panels, and a small kernel held in registers.
//!
//! **The same bits.** Every element of `C` is a sum over blocks of the inner dimension,
//! each block one chain of fused multiply-adds in rising order of `k`. The length of a block
//! depends on `k` alone ([`block_length`]). So an element's bits depend on its row of `A`, its
//! column of `B` and nothing else: not on the number of rows or columns beside it, not on
//! the number of threads, and not on the vector width of the processor.

mod micro;
mod pack;
pub mod reference;
#[cfg(test)]
mod tests;

use half::{bf16, f16};
use rayon::prelude::*;

use self::micro::{Block, Kernels};
use self::pack::{pack_lhs, pack_rhs};
pub(crate) use self::pack::{widen_bf16, widen_f16};
use crate::simd::Isa;

/// A read-only matrix over a slice, with any strides (in elements).
#[derive(Clone, Copy)]
pub struct Mat<'a, T> {
    data: &'a [T],
    pub rows: usize,
    pub cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T> Mat<'a, T> {
    /// A row-major matrix `[rows, cols]` over the whole of `data`.
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// A row-major matrix whose rows start `stride` elements apart (columns of a wider one).
    pub fn strided(data: &'a [T], rows: usize, cols: usize, stride: usize) -> Self {
        let needed = if rows == 0 || cols == 0 { 0 } else { (rows - 1) * stride + cols };
        assert!(
            needed <= data.len(),
            "matrix [{rows}, {cols}] by {stride} needs {needed} elements, the slice has {}",
            data.len()
        );
        Self { data, rows, cols, row_stride: stride, col_stride: 1 }
    }

    /// The rows `first .. first + rows`.
    ///
    /// # Panics
    /// Where the matrix has no such rows.
    #[must_use]
    pub fn rows_of(self, first: usize, rows: usize) -> Self {
        assert!(first + rows <= self.rows, "rows {first}+{rows} of {}", self.rows);
        let start = (first * self.row_stride).min(self.data.len());
        Self { data: &self.data[start..], rows, ..self }
    }

    /// The transposed view; nothing is moved.
    #[must_use]
    pub fn t(self) -> Self {
        Self {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }
}

/// The right side of a product: the only one that may be narrower than f32.
#[derive(Clone, Copy)]
pub enum Rhs<'a> {
    F32(Mat<'a, f32>),
    Bf16(Mat<'a, bf16>),
    F16(Mat<'a, f16>),
}

impl Rhs<'_> {
    /// `(rows, columns)`, that is `(k, n)` of the product.
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Rhs::F32(m) => (m.rows, m.cols),
            Rhs::Bf16(m) => (m.rows, m.cols),
            Rhs::F16(m) => (m.rows, m.cols),
        }
    }

    /// The transposed view; nothing is moved.
    #[must_use]
    pub fn t(self) -> Self {
        match self {
            Rhs::F32(m) => Rhs::F32(m.t()),
            Rhs::Bf16(m) => Rhs::Bf16(m.t()),
            Rhs::F16(m) => Rhs::F16(m.t()),
        }
    }
}

/// The result: row-major, its rows `stride` elements apart.
pub struct MatMut<'a> {
    data: &'a mut [f32],
    pub rows: usize,
    pub cols: usize,
    stride: usize,
}

impl<'a> MatMut<'a> {
    /// A row-major matrix `[rows, cols]` over the whole of `data`.
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// A row-major matrix whose rows start `stride` elements apart.
    pub fn strided(data: &'a mut [f32], rows: usize, cols: usize, stride: usize) -> Self {
        let needed = if rows == 0 || cols == 0 { 0 } else { (rows - 1) * stride + cols };
        assert!(
            needed <= data.len(),
            "matrix [{rows}, {cols}] by {stride} needs {needed} elements, the slice has {}",
            data.len()
        );
        assert!(rows < 2 || stride >= cols, "rows of {cols} elements, {stride} apart, would overlap");
        Self { data, rows, cols, stride }
    }
}

/// The longest block of the inner dimension: a panel of `A` of this length fits the first cache.
const LONGEST_BLOCK: usize = 384;
/// Rows packed at a time, so that the packed rows stay in the last cache.
const ROWS_AT_A_TIME: usize = 2048;
/// Blocks of the inner dimension between two meetings of the threads.
const BLOCKS_AT_A_TIME: usize = 8;
/// Panels of `B` that a task packs at a time, so that they stay in its second-level cache.
const PANELS_A_TILE: usize = 8;
/// Up to this many panels of `B`, packing `A` costs more than reading it where it lies.
const PANELS_WITHOUT_PACKING: usize = 2;
/// Below this many multiply-adds waking other threads costs more than they save, where the caller is one of the
/// pool's own threads.
const WORTH_THREADS: usize = 1 << 21;
/// The same for any other caller, who hands everything over and must be woken in the end.
const WORTH_HANDING_OVER: usize = 1 << 24;

/// The length of the blocks that an inner dimension of `k` is cut into; a function of `k` alone.
pub fn block_length(k: usize) -> usize {
    let blocks = k.div_ceil(LONGEST_BLOCK).max(1);
    k.div_ceil(blocks).next_multiple_of(8).max(8)
}

/// The instructions that the products run on here: `avx512`, `avx2` or `plain`.
pub fn instruction_set() -> &'static str {
    micro::kernels(Isa::best()).name
}

/// `c = a·b`, or `c += a·b` where `accumulate` is set, on the kernels of an instruction set: the bits are those of any.
///
/// Shapes: `a` `[m, k]`, `b` `[k, n]`, `c` `[m, n]`.
///
/// # Panics
/// Where the shapes do not fit together: that is a fault of the program, not of its input.
pub fn matmul(isa: Isa, a: Mat<'_, f32>, b: Rhs<'_>, c: &mut MatMut<'_>, accumulate: bool) {
    matmul_part(isa, a, b, c, accumulate, block_length(a.cols));
}

/// [`matmul`] with blocks of the inner dimension of `step` elements. A product in parts of its inner dimension, each but
/// the last a multiple of the whole one's [`block_length`], has the whole one's bits.
///
/// # Panics
/// As [`matmul`].
pub(crate) fn matmul_part(isa: Isa, a: Mat<'_, f32>, b: Rhs<'_>, c: &mut MatMut<'_>, accumulate: bool, step: usize) {
    let (k, n) = b.shape();
    assert!(
        a.cols == k && c.rows == a.rows && c.cols == n,
        "product of [{}, {}] and [{k}, {n}] into [{}, {}]",
        a.rows,
        a.cols,
        c.rows,
        c.cols
    );
    if a.rows == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if !accumulate {
            for row in c.data.chunks_mut(c.stride).take(c.rows) {
                row[..n].fill(0.0);
            }
        }
        return;
    }
    let worth = if rayon::current_thread_index().is_some() { WORTH_THREADS } else { WORTH_HANDING_OVER };
    let threads = if a.rows * n * k < worth { 1 } else { rayon::current_num_threads() };
    matmul_with(micro::kernels(isa), threads, a, b, c, accumulate, step);
}

/// [`matmul`] of shapes that are checked and not empty, on these kernels.
fn matmul_with(
    kernels: &'static Kernels,
    threads: usize,
    a: Mat<'_, f32>,
    b: Rhs<'_>,
    c: &mut MatMut<'_>,
    accumulate: bool,
    step: usize,
) {
    let (k, n) = b.shape();
    let in_place = n <= PANELS_WITHOUT_PACKING * kernels.cols;
    let blocks = if in_place { 0 } else { k.div_ceil(step).min(BLOCKS_AT_A_TIME) };
    let mut packed = crate::tensor::uninit(a.rows.min(ROWS_AT_A_TIME).next_multiple_of(kernels.rows) * step * blocks);
    for first in (0..a.rows).step_by(ROWS_AT_A_TIME) {
        let rows = ROWS_AT_A_TIME.min(a.rows - first);
        Product { kernels, a, b, first, rows, threads, step, in_place }.run(c, accumulate, &mut packed);
    }
}

/// The product for the rows `first .. first + rows`.
struct Product<'a> {
    kernels: &'static Kernels,
    a: Mat<'a, f32>,
    b: Rhs<'a>,
    first: usize,
    rows: usize,
    threads: usize,
    /// The length of the blocks of the inner dimension; the last one may be shorter.
    step: usize,
    /// `A` is read where it lies, not packed.
    in_place: bool,
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
    rows: std::ops::Range<usize>,
    cols: std::ops::Range<usize>,
}

impl Product<'_> {
    fn run(&self, c: &mut MatMut<'_>, accumulate: bool, packed: &mut [f32]) {
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
    fn panel_rows(&self, p: usize) -> std::ops::Range<usize> {
        let panels = self.row_panels();
        p * self.rows / panels..(p + 1) * self.rows / panels
    }

    /// Packs the rows of these blocks, block after block, panel after panel.
    fn pack_rows(&self, blocks: std::ops::Range<usize>, packed: &mut [f32]) {
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
        rows: &std::ops::Range<usize>,
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

    fn multiply(&self, blocks: std::ops::Range<usize>, packed: &[f32], out: Out, accumulate: bool) {
        let tiles = self.tiles();
        let of_a_block = if self.in_place { 0 } else { self.row_panels() * self.kernels.rows * self.step };
        let work = |tile: &Tile| {
            for (i, block) in blocks.clone().enumerate() {
                self.multiply_tile(tile, self.block(block), &packed[i * of_a_block..], out, accumulate || block > 0);
            }
        };
        if self.threads == 1 {
            tiles.iter().for_each(work);
        } else {
            tiles.par_iter().with_max_len(1).for_each(work);
        }
    }

    /// One block of one tile.
    fn multiply_tile(&self, tile: &Tile, block: (usize, usize), packed: &[f32], out: Out, accumulate: bool) {
        let (from, length) = block;
        let wide = self.kernels.cols;
        let n = self.b.shape().1;
        let room = wide * length;
        pack::with_scratch(tile.cols.len().min(PANELS_A_TILE) * room, |columns| {
            for group in (tile.cols.start..tile.cols.end).step_by(PANELS_A_TILE) {
                let panels = group..(group + PANELS_A_TILE).min(tile.cols.end);
                for (panel, into) in panels.clone().zip(columns.chunks_mut(room)) {
                    let col = panel * wide;
                    pack_rhs(&self.b, from, length, col, wide.min(n - col), self.kernels.lanes, into);
                }
                for p in tile.rows.clone() {
                    let rows = self.panel_rows(p);
                    let (lhs, lhs_strides) = self.lhs(p, &rows, block, packed);
                    for (panel, rhs) in panels.clone().zip(columns.chunks(room)) {
                        let col = panel * wide;
                        // SAFETY: `matmul` checked that C holds [m, n]; the tiles of `tiles` are disjoint ranges of
                        // its rows and columns, so no other task writes these elements.
                        unsafe {
                            let c = out.start.add(rows.start * out.stride + col);
                            let cols = wide.min(n - col);
                            self.kernels.run(&Block {
                                rows: rows.len(),
                                cols,
                                length,
                                lhs,
                                lhs_strides,
                                rhs,
                                c,
                                stride: out.stride,
                                accumulate,
                            });
                        }
                    }
                }
            }
        });
    }
}
