//! The sums on the CPU: runs of rows in f32, the runs in f64.

use candle_core::Tensor;
use rayon::prelude::*;

use crate::error::Result;
use crate::simd::{Isa, Kernel, LANES, Simd, dispatch};
use crate::tensor::{from_vec, unwritten, with_slice};

/// Rows that are added in `f32`; the sums of such runs are added in `f64`, so that a long sequence's
/// rounding stays that of a short one's.
const RUN: usize = 32;
/// Columns that one thread sums.
const BLOCK: usize = 512;

/// See [`super::sum_rows`]; `dy` has `columns` columns.
pub fn sum_rows(isa: Isa, dy: &Tensor, columns: usize, starts: &[usize]) -> Result<Vec<Tensor>> {
    let sums = with_slice(dy, |dy| {
        let sequences = starts.par_windows(2);
        let of_sequence = |pair: &[usize]| {
            let rows = &dy[pair[0] * columns..pair[1] * columns];
            // SAFETY: the blocks below are all the columns, and the kernel writes each of its sums.
            let mut sums = unsafe { unwritten(columns) };
            sums.par_chunks_mut(BLOCK).enumerate().for_each(|(block, sums)| {
                dispatch(isa, ColumnSums { rows, columns, first: block * BLOCK, sums });
            });
            sums
        };
        sequences.map(of_sequence).collect::<Vec<_>>()
    })?;
    sums.into_iter().map(|sums| Ok(from_vec(sums, columns)?)).collect()
}

/// Some columns of one sequence.
struct ColumnSums<'a> {
    rows: &'a [f32],
    columns: usize,
    first: usize,
    sums: &'a mut [f32],
}

impl Kernel for ColumnSums<'_> {
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
