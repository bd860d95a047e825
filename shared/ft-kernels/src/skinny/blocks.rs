//! The product with rows of blocks, which become numbers in registers as they meet the rows of `x`.

use std::ops::Range;

use super::tile::Product;
use super::weights::Weights;
use crate::quant::{BlockRows, Decode, OnBlocks, Run, expand_rows};
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Up to so many rows of `x` each row of `W` is decoded in registers. More of them pay for a copy in the first cache.
const IN_REGISTERS: usize = 4;
/// Rows of `W` that are copied at a time: whole tiles.
const COPIED: usize = 6;

/// Computes the columns `columns` of the result; row 0 of `W` is the source's row `first`.
pub fn columns(product: &Product<'_>, source: &dyn BlockRows, first: usize, columns: Range<usize>) {
    let mut copy = Vec::new();
    let mut at = columns.start;
    while at < columns.end {
        let run = source.run(first + at);
        let run = Run { count: run.count.min(columns.end - at), ..run };
        let of_run = OfRun { product, run, column: at };
        if product.rows > IN_REGISTERS || !run.blocks.visit(of_run) {
            copied(product, source, (first + at, run.count), at, &mut copy);
        }
        at += run.count;
    }
}

/// Computes columns from `column` on from copies of some rows of the source.
fn copied(
    product: &Product<'_>,
    source: &dyn BlockRows,
    (first, count): (usize, usize),
    column: usize,
    copy: &mut Vec<f32>,
) {
    let k = product.k;
    copy.resize(COPIED * k, 0.0);
    for done in (0..count).step_by(COPIED) {
        let rows = COPIED.min(count - done);
        let copy = &mut copy[..rows * k];
        expand_rows(source, product.isa, (first + done, rows), (0, k), copy, k);
        product.with(Weights::F32(copy), column + done);
    }
}

/// The columns that a run's rows give, from `column` on.
#[derive(Clone, Copy)]
struct OfRun<'a> {
    product: &'a Product<'a>,
    run: Run<'a>,
    column: usize,
}

impl OnBlocks for OfRun<'_> {
    /// Whether it was done: rows of whole units can.
    type Output = bool;

    #[inline]
    fn with<D: Decode>(self, blocks: D) -> bool {
        let Run { start, stride, .. } = self.run;
        let whole = [self.product.k, start, stride].into_iter().all(|n| n.is_multiple_of(D::UNIT));
        if whole {
            dispatch(self.product.isa, InRegisters { of_run: self, blocks });
        }
        whole
    }
}

/// The rows of a run in blocks of one format.
#[derive(Clone, Copy)]
struct InRegisters<'a, D> {
    of_run: OfRun<'a>,
    blocks: D,
}

impl<D: Decode> Kernel for InRegisters<'_, D> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let rows = self.of_run.product.rows;
        let mut row = 0;
        while rows - row >= 4 {
            self.columns::<S, 4>(s, row);
            row += 4;
        }
        if rows - row >= 2 {
            self.columns::<S, 2>(s, row);
            row += 2;
        }
        if rows > row {
            self.columns::<S, 1>(s, row);
        }
    }
}

impl<D: Decode> InRegisters<'_, D> {
    /// All columns of `M` rows of the result.
    #[inline(always)]
    fn columns<S: Simd, const M: usize>(self, s: S, row: usize) {
        let OfRun { product, run, column } = self.of_run;
        // The sums of so many rows of W are added up at once.
        let together = LANES / M;
        let mut lanes = [0.0; LANES * LANES];
        for first in (0..run.count).step_by(together) {
            let count = together.min(run.count - first);
            for (j, lanes) in lanes.chunks_exact_mut(M * LANES).take(count).enumerate() {
                self.row::<S, M>(s, row, run.start + (first + j) * run.stride, lanes);
            }
            let mut totals = [0.0; LANES];
            // SAFETY: there are 16 vectors, and room for 16 sums; those past the last row's are not read.
            unsafe { s.sum_each(lanes.as_ptr(), totals.as_mut_ptr()) };
            for (j, totals) in totals.chunks_exact(M).take(count).enumerate() {
                for (i, &total) in totals.iter().enumerate() {
                    let at = (row + i) * product.n + column + first + j;
                    // SAFETY: the row is below `rows` and the column below `n`; columns belong to one thread each.
                    unsafe { *product.out.at(at) = total };
                }
            }
        }
    }

    /// The sums, not yet added up, of `M` rows of `x` with the row of `W` that begins at number `start`.
    #[inline(always)]
    fn row<S: Simd, const M: usize>(self, s: S, row: usize, start: usize, lanes: &mut [f32]) {
        let product = self.of_run.product;
        let x = &product.x[row * product.width..][..M * product.width];
        let blocks = self.blocks.of_row(start);
        let mut sums = [s.splat(0.0); M];
        for (number, at) in (0..product.k).step_by(D::UNIT).enumerate() {
            blocks.unit(
                s,
                start / D::UNIT + number,
                #[inline(always)]
                |v, right| {
                    for (i, sum) in sums.iter_mut().enumerate() {
                        // SAFETY: `x` has M rows of `width` numbers, and the unit's lie below `k`.
                        let left = unsafe { s.load(x.as_ptr().add(i * product.width + at + v * LANES)) };
                        *sum = s.fma(left, right, *sum);
                    }
                },
            );
        }
        for (lanes, sum) in lanes.chunks_exact_mut(LANES).zip(sums) {
            s.store_part(lanes, sum);
        }
    }
}
