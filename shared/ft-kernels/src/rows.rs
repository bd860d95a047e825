//! The sums of a matrix's rows, sequence by sequence: the gradients of biases.

use candle_core::Tensor;
use rayon::prelude::*;

use crate::error::{Result, expect_shape};
use crate::simd::{Kernel, LANES, Simd, dispatch_best};
use crate::tensor::{from_vec, is_fused, uninit, with_slice};

/// Rows that are added in `f32`; the sums of such runs are added in `f64`, so that a long sequence's
/// rounding stays that of a short one's.
const RUN: usize = 32;
/// Columns that one thread sums.
const BLOCK: usize = 512;

/// The sums of the rows of `dy` `[tokens, n]` over each sequence's tokens `starts[i]..starts[i + 1]`,
/// each `[n]`; zeros for an empty sequence.
///
/// # Errors
/// If `starts` does not rise from 0 to the number of tokens.
pub fn sum_rows(dy: &Tensor, starts: &[usize]) -> Result<Vec<Tensor>> {
    let columns = check(dy, starts)?;
    if !is_fused(dy) {
        return reference::sum_rows(dy, starts);
    }
    let sums = with_slice(dy, |dy| {
        let sequences = starts.par_windows(2);
        let of_sequence = |pair: &[usize]| {
            let rows = &dy[pair[0] * columns..pair[1] * columns];
            let mut sums = uninit(columns);
            sums.par_chunks_mut(BLOCK).enumerate().for_each(|(block, sums)| {
                dispatch_best(Block { rows, columns, first: block * BLOCK, sums });
            });
            sums
        };
        sequences.map(of_sequence).collect::<Vec<_>>()
    })?;
    sums.into_iter().map(|sums| Ok(from_vec(sums, columns)?)).collect()
}

fn check(dy: &Tensor, starts: &[usize]) -> Result<usize> {
    let (tokens, columns) = dy.dims2()?;
    let rising = starts.first() == Some(&0)
        && starts.last() == Some(&tokens)
        && starts.windows(2).all(|pair| pair[0] <= pair[1]);
    expect_shape(rising, "sum_rows", "starts", format!("a rise from 0 to {tokens}"), starts)?;
    Ok(columns)
}

/// Some columns of one sequence.
struct Block<'a> {
    rows: &'a [f32],
    columns: usize,
    first: usize,
    sums: &'a mut [f32],
}

impl Kernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let end = self.first + self.sums.len();
        let (mut totals, mut run) = ([0f64; BLOCK], [0f32; BLOCK]);
        let run = &mut run[..self.sums.len()];
        for rows in self.rows.chunks(RUN * self.columns) {
            run.fill(0.0);
            for row in rows.chunks_exact(self.columns) {
                add(s, run, &row[self.first..end]);
            }
            totals.iter_mut().zip(&*run).for_each(|(total, &x)| *total += f64::from(x));
        }
        self.sums.iter_mut().zip(totals).for_each(|(sum, total)| *sum = total as f32);
    }
}

/// `to += values`.
#[inline(always)]
fn add<S: Simd>(s: S, to: &mut [f32], values: &[f32]) {
    for (to, values) in to.chunks_mut(LANES).zip(values.chunks(LANES)) {
        let sum = s.add(s.load_part(to, 0.0), s.load_part(values, 0.0));
        s.store_part(to, sum);
    }
}

/// The same in candle operations, on any device.
pub mod reference {
    use candle_core::Tensor;

    use crate::error::Result;

    /// See [`super::sum_rows`]; candle can differentiate it.
    ///
    /// # Errors
    /// As [`super::sum_rows`].
    pub fn sum_rows(dy: &Tensor, starts: &[usize]) -> Result<Vec<Tensor>> {
        let columns = super::check(dy, starts)?;
        let pairs = starts.windows(2).map(|pair| (pair[0], pair[1] - pair[0]));
        pairs
            .map(|(start, len)| match len {
                0 => Ok(Tensor::zeros(columns, dy.dtype(), dy.device())?),
                len => Ok(dy.narrow(0, start, len)?.sum(0)?),
            })
            .collect()
    }
}
