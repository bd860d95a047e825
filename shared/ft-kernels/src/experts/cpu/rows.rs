//! Rows to an expert and back.

use candle_core::Tensor;
use rayon::prelude::*;

use crate::error::Result;
use crate::parallel::for_row_blocks;
use crate::simd::{Isa, Kernel, LANES, Simd, dispatch};
use crate::tensor::{from_vec, unwritten, with_slice, with_slice_mut, with_slices};

/// See [`crate::experts::gather_rows`].
pub fn gather_rows(x: &Tensor, columns: usize, rows: &[u32], weights: Option<&[f32]>) -> Result<Tensor> {
    // SAFETY: every row is in one of the blocks below and copied whole.
    let mut y = unsafe { unwritten(rows.len() * columns) };
    with_slice(x, |x| {
        for_row_blocks(&mut y, columns, |first, y| {
            for (i, y) in y.chunks_exact_mut(columns.max(1)).enumerate() {
                y.copy_from_slice(&x[rows[first + i] as usize * columns..][..columns]);
                if let Some(weights) = weights {
                    let weight = weights[first + i];
                    y.iter_mut().for_each(|y| *y *= weight);
                }
            }
        });
    })?;
    Ok(from_vec(y, (rows.len(), columns))?)
}

/// See [`crate::experts::scatter_add`].
pub fn scatter_add(
    isa: Isa,
    y: Tensor,
    columns: usize,
    part: &Tensor,
    rows: &[u32],
    weights: Option<&[f32]>,
) -> Result<Tensor> {
    with_slices([part], |[part]| {
        with_slice_mut(&y, |y| {
            for_row_blocks(y, columns, |first, y| {
                let end = first + y.len() / columns.max(1);
                let low = rows.partition_point(|&row| (row as usize) < first);
                let high = rows.partition_point(|&row| (row as usize) < end);
                for i in low..high {
                    let y = &mut y[(rows[i] as usize - first) * columns..][..columns];
                    let weight = weights.map_or(1.0, |weights| weights[i]);
                    dispatch(isa, Add { y, x: &part[i * columns..][..columns], weight });
                }
            });
        })
    })??;
    Ok(y)
}

/// See [`crate::experts::row_dots`].
pub fn row_dots(isa: Isa, dy: &Tensor, columns: usize, part: &Tensor, rows: &[u32]) -> Result<Vec<f32>> {
    let dots = with_slices([dy, part], |[dy, part]| {
        let dot = |(i, &row): (usize, &u32)| {
            let a = &dy[row as usize * columns..][..columns];
            dispatch(isa, Dot { a, b: &part[i * columns..][..columns] })
        };
        rows.par_iter().enumerate().with_min_len(16).map(dot).collect()
    })?;
    Ok(dots)
}

/// `y += weight * x`.
struct Add<'a> {
    y: &'a mut [f32],
    x: &'a [f32],
    weight: f32,
}

impl Kernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let weight = s.splat(self.weight);
        for (y, x) in self.y.chunks_mut(LANES).zip(self.x.chunks(LANES)) {
            let sum = s.fma(s.load_part(x, 0.0), weight, s.load_part(y, 0.0));
            s.store_part(y, sum);
        }
    }
}

struct Dot<'a> {
    a: &'a [f32],
    b: &'a [f32],
}

impl Kernel for Dot<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let Self { a, b } = self;
        crate::norm::sums::sum_of(
            s,
            a.len(),
            #[inline(always)]
            |at| (s.load_part(&a[at..], 0.0), s.load_part(&b[at..], 0.0)),
        )
    }
}
