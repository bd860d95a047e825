//! A tile of the product: some rows of `x` with some rows of `W`, the sums in registers.

use std::ops::Range;

use super::weights::Weights;
use crate::parallel::{Shared, with_scratch};
use crate::simd::{Isa, Kernel, LANES, Simd, dispatch};
use crate::widen::{widen_bf16, widen_f16};

/// Sums of a tile, in whole vectors: of the widest, 8 by 3.
const MOST_SUMS: usize = 2 * LANES;

/// What all pieces of a product share.
#[derive(Clone, Copy)]
pub struct Product<'a> {
    pub isa: Isa,
    /// `[rows, width]`
    pub x: &'a [f32],
    pub rows: usize,
    pub k: usize,
    /// `k` in whole vectors.
    pub width: usize,
    /// `[rows, n]`
    pub out: Shared,
    pub n: usize,
}

impl Product<'_> {
    /// Computes the columns `columns` of the result.
    pub fn columns(&self, weights: Weights<'_>, columns: Range<usize>) {
        let (part, first) = (columns.start * self.k..columns.end * self.k, columns.start);
        match weights {
            Weights::F32(w) => self.with(Weights::F32(&w[part]), first),
            Weights::Bf16(w) => self.with(Weights::Bf16(&w[part]), first),
            Weights::F16(w) => self.with(Weights::F16(&w[part]), first),
        }
    }

    /// Computes the columns from `first` on, of which `weights` are the rows.
    pub fn with(&self, weights: Weights<'_>, first: usize) {
        let product = *self;
        match weights {
            Weights::F32(w) => dispatch(product.isa, Columns { product, first, w, widen: |x| x, as_f32: Some }),
            Weights::Bf16(w) => {
                dispatch(product.isa, Columns { product, first, w, widen: widen_bf16, as_f32: |_| None });
            }
            Weights::F16(w) => dispatch(product.isa, Columns { product, first, w, widen: widen_f16, as_f32: |_| None }),
        }
    }
}

/// A range of columns of the result, from as many rows of `W`.
struct Columns<'a, T, W, F> {
    product: Product<'a>,
    first: usize,
    w: &'a [T],
    widen: W,
    /// The rows as they are, if they are f32.
    as_f32: F,
}

impl<'a, T: Copy, W: Fn(T) -> f32 + Copy, F: Fn(&'a [T]) -> Option<&'a [f32]>> Kernel for Columns<'a, T, W, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // As many sums as the registers hold beside the operands.
        if S::REGISTERS >= 32 { self.tiles::<S, 8, 3>(s) } else { self.tiles::<S, 2, 2>(s) }
    }
}

impl<'a, T: Copy, W: Fn(T) -> f32 + Copy, F: Fn(&'a [T]) -> Option<&'a [f32]>> Columns<'a, T, W, F> {
    /// In tiles of at most `M` rows of `x` and `N` rows of `W`.
    #[inline(always)]
    fn tiles<S: Simd, const M: usize, const N: usize>(self, s: S) {
        let Product { k, width, .. } = self.product;
        let in_place = if k == width { (self.as_f32)(self.w) } else { None };
        let room = if in_place.is_some() { 0 } else { N * width };
        with_scratch(
            [room, MOST_SUMS * LANES],
            #[inline(always)]
            |[widened, lanes]| {
                widened.fill(0.0);
                for (i, w) in self.w.chunks(N * k).enumerate() {
                    let count = w.len() / k;
                    let rows = if let Some(all) = in_place {
                        &all[i * N * k..][..w.len()]
                    } else {
                        for (to, from) in widened.chunks_exact_mut(width).zip(w.chunks_exact(k)) {
                            for (to, from) in to.iter_mut().zip(from) {
                                *to = (self.widen)(*from);
                            }
                        }
                        &widened[..count * width]
                    };
                    let column = self.first + i * N;
                    let ahead = Ahead {
                        start: w.as_ptr().wrapping_add(N * k).cast(),
                        row: k * size_of::<T>(),
                        element: size_of::<T>(),
                    };
                    if count == N {
                        all_rows::<S, M, N>(s, &self.product, rows, column, &ahead, lanes);
                    } else {
                        for (j, row) in rows.chunks_exact(width).enumerate() {
                            all_rows::<S, M, 1>(s, &self.product, row, column + j, &ahead, lanes);
                        }
                    }
                }
            },
        );
    }
}

/// All rows of `x` with `N` rows of `W`, which give the columns from `column` on. `lanes` has room for a
/// tile's sums.
#[inline(always)]
fn all_rows<S: Simd, const M: usize, const N: usize>(
    s: S,
    product: &Product<'_>,
    w: &[f32],
    column: usize,
    ahead: &Ahead,
    lanes: &mut [f32],
) {
    let rows = product.rows;
    let mut row = 0;
    while rows - row >= M {
        tile::<S, M, N>(s, product, w, row, column, ahead, lanes);
        row += M;
    }
    if M > 4 && rows - row >= 4 {
        tile::<S, 4, N>(s, product, w, row, column, ahead, lanes);
        row += 4;
    }
    if M > 2 && rows - row >= 2 {
        tile::<S, 2, N>(s, product, w, row, column, ahead, lanes);
        row += 2;
    }
    if rows > row {
        tile::<S, 1, N>(s, product, w, row, column, ahead, lanes);
    }
}

/// `M` rows of `x` with `N` rows of `W`, the sums in registers.
#[inline(always)]
fn tile<S: Simd, const M: usize, const N: usize>(
    s: S,
    product: &Product<'_>,
    w: &[f32],
    row: usize,
    column: usize,
    ahead: &Ahead,
    lanes: &mut [f32],
) {
    let width = product.width;
    let lanes = &mut lanes[..MOST_SUMS * LANES];
    let x = &product.x[row * width..][..M * width];
    let w = &w[..N * width];
    let mut sums = [[s.splat(0.0); N]; M];
    let mut at = 0;
    while at < width {
        let mut right = [s.splat(0.0); N];
        for (j, right) in right.iter_mut().enumerate() {
            prefetch(ahead.start.wrapping_add(j * ahead.row + at * ahead.element));
            // SAFETY: `w` has N rows of `width`, a multiple of the vector's length.
            *right = unsafe { s.load(w.as_ptr().add(j * width + at)) };
        }
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: `x` has M such rows.
            let left = unsafe { s.load(x.as_ptr().add(i * width + at)) };
            for (sum, &right) in sums.iter_mut().zip(&right) {
                *sum = s.fma(left, right, *sum);
            }
        }
        at += LANES;
    }
    let lanes = lanes.as_mut_ptr();
    let mut totals = [0.0; MOST_SUMS];
    // Two loops of known length, which the compiler unrolls: else it keeps the sums in memory all along.
    for (i, sums) in sums.iter().enumerate() {
        for (j, &sum) in sums.iter().enumerate() {
            // SAFETY: there are at most as many sums as there is room for.
            unsafe { s.store(lanes.add((i * N + j) * LANES), sum) };
        }
    }
    for first in (0..M * N).step_by(LANES) {
        // SAFETY: as above; what stands past the last sum is added up too, and not read.
        unsafe { s.sum_each(lanes.add(first * LANES), totals.as_mut_ptr().add(first)) };
    }
    for (i, totals) in totals[..M * N].chunks_exact(N).enumerate() {
        for (j, &total) in totals.iter().enumerate() {
            // SAFETY: the row is below `rows` and the column below `n`; columns belong to one thread each.
            unsafe { *product.out.at((row + i) * product.n + column + j) = total };
        }
    }
}

/// The rows of `W` that the next tile needs: they are on their way while this one is computed.
struct Ahead {
    start: *const u8,
    /// Bytes of a row.
    row: usize,
    /// Bytes of an element.
    element: usize,
}

/// Asks for the cache line at `place`, which need not exist.
#[inline(always)]
fn prefetch(place: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
