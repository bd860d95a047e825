//! Matrix products of a few rows: `y = x·Wᵀ`, with `W` read once, where it lies.
//!
//! A step of generation has one row a sequence. The general product ([`crate::gemm`]) would spend its
//! time on packing `W`, which so few rows do not pay back; here every row of `W` meets all rows of `x`
//! as it comes from memory, and nothing is copied. Blocks of few bits become numbers in registers.
//!
//! **The same bits.** An element of `y` is 16 chains of fused multiply-adds, chain `l` over the elements
//! `l`, `l + 16`, `l + 32`, … of a row of `x` and a row of `W`, and the chains are added halves to halves.
//! So its bits depend on these two rows and nothing else: not on the number of rows beside it, nor on
//! threads or instruction set. They are not those of the general product, which sums in another order.

mod blocks;
pub mod reference;
#[cfg(test)]
mod tests;
mod tile;
mod weights;

use std::convert::Infallible;
use std::ops::Range;

use rayon::prelude::*;

use self::tile::Product;
pub use self::weights::Weights;
use crate::linear::by_rows::Rows;
use crate::parallel::Shared;
use crate::simd::{Isa, LANES};

/// Below this many multiply-adds waking other threads costs more than they save.
const WORTH_THREADS: usize = 1 << 18;
/// Pieces of `W` for each thread, so that one that is held up does not hold up all.
const PIECES_A_THREAD: usize = 4;
/// Rows of `W` that make a piece.
const LEAST_ROWS: usize = 24;

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

/// [`skinny`] with a matrix that is no floats: blocks are decoded as they meet `x`; what is none is expanded in parts, each
/// by the thread that multiplies it.
///
/// # Errors
/// If rows cannot be had.
///
/// # Panics
/// As [`skinny`].
pub fn skinny_by_rows(isa: Isa, x: &[f32], weights: &Rows, y: &mut [f32]) -> candle_core::Result<()> {
    let k = weights.columns();
    if let Some((source, first)) = weights.in_blocks() {
        let Ok(()) = in_pieces(isa, x, k, weights.rows(), 1, y, |product, columns| {
            blocks::columns(product, source, first, columns);
            Ok::<_, Infallible>(())
        });
        return Ok(());
    }
    let granule = weights.granule();
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
