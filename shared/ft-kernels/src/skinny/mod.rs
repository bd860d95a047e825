//! Matrix products of a few rows: `y = x·Wᵀ`, with `W` read once, where it lies.
//!
//! A step of generation has one row a sequence. The general product ([`crate::gemm`]) would spend its
//! time on packing `W`, which so few rows do not pay back; here every row of `W` meets all rows of `x`
//! as it comes from memory, and nothing is copied.
//!
//! **The same bits.** An element of `y` is 16 chains of fused multiply-adds, chain `l` over the elements
//! `l`, `l + 16`, `l + 32`, … of a row of `x` and a row of `W`, and the chains are added halves to halves.
//! So its bits depend on these two rows and nothing else: not on the number of rows beside it, nor on
//! threads or instruction set. They are not those of the general product, which sums in another order.

use std::convert::Infallible;
use std::ops::Range;

use half::{bf16, f16};
use rayon::prelude::*;

use crate::gemm::{widen_bf16, widen_f16};
use crate::linear::by_rows::Rows;
use crate::parallel::{Shared, with_scratch};
use crate::simd::{Isa, Kernel, LANES, Simd, dispatch};

/// Below this many multiply-adds waking other threads costs more than they save.
const WORTH_THREADS: usize = 1 << 18;
/// Pieces of `W` for each thread, so that one that is held up does not hold up all.
const PIECES_A_THREAD: usize = 4;
/// Sums of a tile, in whole vectors: of the widest, 8 by 3.
const MOST_SUMS: usize = 2 * LANES;
/// Rows of `W` that make a piece.
const LEAST_ROWS: usize = 24;

/// A matrix `[n, k]`, row by row.
#[derive(Clone, Copy, Debug)]
pub enum Weights<'a> {
    /// As it is multiplied.
    F32(&'a [f32]),
    /// Widened, which is exact, some rows at a time.
    Bf16(&'a [bf16]),
    /// Widened, which is exact, some rows at a time.
    F16(&'a [f16]),
}

impl Weights<'_> {
    fn len(&self) -> usize {
        match self {
            Weights::F32(w) => w.len(),
            Weights::Bf16(w) => w.len(),
            Weights::F16(w) => w.len(),
        }
    }

    /// The elements from `start` on, as many as there is room for, widened.
    ///
    /// # Panics
    /// Where there are fewer.
    pub(crate) fn widen(&self, start: usize, to: &mut [f32]) {
        let range = start..start + to.len();
        match self {
            Weights::F32(w) => to.copy_from_slice(&w[range]),
            Weights::Bf16(w) => to.iter_mut().zip(&w[range]).for_each(|(to, w)| *to = widen_bf16(*w)),
            Weights::F16(w) => to.iter_mut().zip(&w[range]).for_each(|(to, w)| *to = widen_f16(*w)),
        }
    }
}

/// `y = x·Wᵀ` for `x` `[m, k]`, `weights` `[n, k]` and `y` `[m, n]`, all row by row.
///
/// # Panics
/// Where the lengths do not fit together: that is a fault of the program, not of its input.
pub fn skinny(isa: Isa, x: &[f32], weights: Weights<'_>, k: usize, y: &mut [f32]) {
    let n = weights.len() / k.max(1);
    assert!(weights.len() == n * k, "a matrix of {} elements in rows of {k}", weights.len());
    let Ok(()) = in_pieces(isa, x, k, n, 1, y, |product, columns| {
        product.columns(weights, columns);
        Ok::<_, Infallible>(())
    });
}

/// [`skinny`] with a matrix that is expanded in parts, each by the thread that multiplies it.
///
/// # Errors
/// If rows cannot be had.
///
/// # Panics
/// As [`skinny`].
pub fn skinny_by_rows(isa: Isa, x: &[f32], weights: &Rows, y: &mut [f32]) -> candle_core::Result<()> {
    let (k, granule) = (weights.columns(), weights.granule());
    let step = LEAST_ROWS.next_multiple_of(granule);
    in_pieces(isa, x, k, weights.rows(), granule, y, |product, columns| {
        let mut expanded = vec![0.0; step.min(columns.len()) * k];
        for first in columns.clone().step_by(step) {
            let part = &mut expanded[..step.min(columns.end - first) * k];
            weights.expand(isa, first, part)?;
            product.with(Weights::F32(part), first);
        }
        Ok(())
    })
}

/// Calls `piece` for ranges of columns that together are all `n`, each but the last a multiple of `granule`, with all
/// threads where it is worth it.
fn in_pieces<E: Send>(
    isa: Isa,
    x: &[f32],
    k: usize,
    n: usize,
    granule: usize,
    y: &mut [f32],
    piece: impl Fn(&Product<'_>, Range<usize>) -> Result<(), E> + Sync,
) -> Result<(), E> {
    if k == 0 {
        y.fill(0.0);
        return Ok(());
    }
    let rows = x.len() / k;
    let whole = x.len() == rows * k && y.len() == rows * n;
    assert!(whole, "product of {} elements by [{n}, {k}] into {}", x.len(), y.len());
    if y.is_empty() {
        return Ok(());
    }
    let width = k.next_multiple_of(LANES);
    let padded = (width != k).then(|| pad(x, k, width));
    let product = Product { isa, x: padded.as_deref().unwrap_or(x), rows, k, width, out: Shared::new(y), n };
    let pieces = match rayon::current_num_threads() {
        1 => 1,
        _ if rows * n * k < WORTH_THREADS => 1,
        threads => (threads * PIECES_A_THREAD).min(n.div_ceil(LEAST_ROWS)),
    };
    let units = n.div_ceil(granule);
    let end = |i: usize| (i * units / pieces * granule).min(n);
    let piece = |i: usize| piece(&product, end(i)..end(i + 1));
    if pieces == 1 {
        return piece(0);
    }
    (0..pieces).into_par_iter().with_max_len(1).try_for_each(piece)
}

/// Rows of `k` elements as rows of `width`, with zeros behind.
fn pad(x: &[f32], k: usize, width: usize) -> Vec<f32> {
    let mut padded = vec![0.0; x.len() / k * width];
    for (to, from) in padded.chunks_exact_mut(width).zip(x.chunks_exact(k)) {
        to[..k].copy_from_slice(from);
    }
    padded
}

/// What all pieces of a product share.
#[derive(Clone, Copy)]
struct Product<'a> {
    isa: Isa,
    /// `[rows, width]`
    x: &'a [f32],
    rows: usize,
    k: usize,
    /// `k` in whole vectors.
    width: usize,
    /// `[rows, n]`
    out: Shared,
    n: usize,
}

impl Product<'_> {
    /// Computes the columns `columns` of the result.
    fn columns(&self, weights: Weights<'_>, columns: Range<usize>) {
        let (part, first) = (columns.start * self.k..columns.end * self.k, columns.start);
        match weights {
            Weights::F32(w) => self.with(Weights::F32(&w[part]), first),
            Weights::Bf16(w) => self.with(Weights::Bf16(&w[part]), first),
            Weights::F16(w) => self.with(Weights::F16(&w[part]), first),
        }
    }

    /// Computes the columns from `first` on, of which `weights` are the rows.
    fn with(&self, weights: Weights<'_>, first: usize) {
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

pub mod reference {
    //! The same, one element after the other.

    use crate::simd::LANES;

    /// See [`super::skinny`], with `weights` widened already. The same bits.
    pub fn skinny(x: &[f32], weights: &[f32], k: usize) -> Vec<f32> {
        let element = |x: &[f32], w: &[f32]| {
            let mut lanes = [0f32; LANES];
            for (i, (x, w)) in x.iter().zip(w).enumerate() {
                lanes[i % LANES] = x.mul_add(*w, lanes[i % LANES]);
            }
            let mut half = LANES / 2;
            while half > 0 {
                for l in 0..half {
                    lanes[l] += lanes[l + half];
                }
                half /= 2;
            }
            lanes[0]
        };
        x.chunks(k).flat_map(|x| weights.chunks(k).map(move |w| element(x, w))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::testing::same_on_every_isa;

    fn values(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    fn product(x: &[f32], weights: Weights<'_>, k: usize) -> Vec<f32> {
        product_on(Isa::best(), x, weights, k)
    }

    fn product_on(isa: Isa, x: &[f32], weights: Weights<'_>, k: usize) -> Vec<f32> {
        let mut y = vec![f32::NAN; x.len() / k * (weights.len() / k)];
        skinny(isa, x, weights, k, &mut y);
        y
    }

    #[test]
    fn every_shape_has_the_references_bits() {
        for (rows, n, k) in [(1, 1, 1), (1, 7, 16), (2, 5, 33), (3, 64, 48), (7, 50, 100), (8, 700, 64), (19, 31, 576)]
        {
            let (x, w) = (values(rows * k, 1), values(n * k, 2));
            assert_eq!(product(&x, Weights::F32(&w), k), reference::skinny(&x, &w, k), "[{rows}, {k}] by [{n}, {k}]");
        }
    }

    #[test]
    fn narrow_weights_are_widened_exactly() {
        let (rows, n, k) = (5, 40, 72);
        let (x, w) = (values(rows * k, 3), values(n * k, 4));
        let narrow: Vec<bf16> = w.iter().map(|&w| bf16::from_f32(w)).collect();
        let wide: Vec<f32> = narrow.iter().map(|w| w.to_f32()).collect();
        assert_eq!(product(&x, Weights::Bf16(&narrow), k), reference::skinny(&x, &wide, k));
        let narrow: Vec<f16> = w.iter().map(|&w| f16::from_f32(w)).collect();
        let wide: Vec<f32> = narrow.iter().map(|w| w.to_f32()).collect();
        assert_eq!(product(&x, Weights::F16(&narrow), k), reference::skinny(&x, &wide, k));
    }

    #[test]
    fn a_row_does_not_know_its_neighbours_threads_or_instructions() {
        let (rows, n, k) = (13, 300, 200);
        let (x, w) = (values(rows * k, 5), values(n * k, 6));
        let all = product(&x, Weights::F32(&w), k);
        for (i, row) in x.chunks(k).enumerate() {
            assert_eq!(product(row, Weights::F32(&w), k), all[i * n..][..n], "row {i} alone");
        }
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| product(&x, Weights::F32(&w), k)), all);
        }
        assert!(same_on_every_isa(|isa| product_on(isa, &x, Weights::F32(&w), k)));
    }

    #[test]
    fn nothing_times_anything() {
        assert!(product(&[], Weights::F32(&[1.0, 2.0]), 2).is_empty());
        assert!(product(&[1.0, 2.0], Weights::F32(&[]), 2).is_empty());
        let mut y = [1.0];
        skinny(Isa::best(), &[], Weights::F32(&[]), 0, &mut y);
        assert_eq!(y, [0.0]);
    }
}
