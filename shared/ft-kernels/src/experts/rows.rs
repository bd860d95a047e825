//! Rows to an expert and back.

use candle_core::Tensor;
use rayon::prelude::*;

use super::reference;
use crate::error::{Error, Result, expect_shape};
use crate::parallel::for_row_blocks;
use crate::simd::{Kernel, LANES, Simd, dispatch_best};
use crate::tensor::{from_vec, is_fused, uninit, with_slice, with_slice_mut, with_slices};

/// The rows `rows` of `x` `[tokens, columns]`, in their order and as often as they stand there.
///
/// # Errors
/// If a row is not below the number of tokens.
pub fn gather_rows(x: &Tensor, rows: &[u32]) -> Result<Tensor> {
    gather("gather_rows", x, rows, None)
}

/// [`gather_rows`], each row times its weight: the gradient of [`scatter_add_weighted`] for its rows.
///
/// # Errors
/// If a row is not below the number of tokens, or there is not one weight a row.
pub fn gather_rows_weighted(x: &Tensor, rows: &[u32], weights: &[f32]) -> Result<Tensor> {
    gather("gather_rows_weighted", x, rows, Some(weights))
}

fn gather(name: &'static str, x: &Tensor, rows: &[u32], weights: Option<&[f32]>) -> Result<Tensor> {
    let columns = check(name, x, rows, weights)?;
    if !is_fused(x) {
        return reference::gather_rows(x, rows, weights);
    }
    let mut y = uninit(rows.len() * columns);
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

/// Adds the rows of `part` `[rows, columns]` to the rows `rows` of `y` `[tokens, columns]`, which
/// must rise: the gradient of [`gather_rows`].
///
/// On the CPU this happens in `y`'s own memory, so every other handle on it sees the change.
///
/// # Errors
/// If the shapes do not fit, or the rows do not rise or are not below the number of tokens.
pub fn scatter_add(y: Tensor, part: &Tensor, rows: &[u32]) -> Result<Tensor> {
    scatter("scatter_add", y, part, rows, None)
}

/// [`scatter_add`], each row times its weight.
///
/// # Errors
/// As [`scatter_add`], or if there is not one weight a row.
pub fn scatter_add_weighted(y: Tensor, part: &Tensor, rows: &[u32], weights: &[f32]) -> Result<Tensor> {
    scatter("scatter_add_weighted", y, part, rows, Some(weights))
}

fn scatter(name: &'static str, y: Tensor, part: &Tensor, rows: &[u32], weights: Option<&[f32]>) -> Result<Tensor> {
    let columns = check(name, &y, rows, weights)?;
    let wanted = [rows.len(), columns];
    expect_shape(part.dims() == wanted, name, "the part", wanted, part.dims())?;
    if let Some(pair) = rows.windows(2).find(|pair| pair[0] >= pair[1]) {
        return Err(Error::shape(name, "the rows' order", "a rise", pair));
    }
    if !(is_fused(&y) && is_fused(part)) {
        return reference::scatter_add(&y, part, rows, weights);
    }
    with_slices([part], |[part]| {
        with_slice_mut(&y, |y| {
            for_row_blocks(y, columns, |first, y| {
                let end = first + y.len() / columns.max(1);
                let low = rows.partition_point(|&row| (row as usize) < first);
                let high = rows.partition_point(|&row| (row as usize) < end);
                for i in low..high {
                    let y = &mut y[(rows[i] as usize - first) * columns..][..columns];
                    let weight = weights.map_or(1.0, |weights| weights[i]);
                    dispatch_best(Add { y, x: &part[i * columns..][..columns], weight });
                }
            });
        })
    })??;
    Ok(y)
}

/// The products of the rows `rows` of `dy` `[tokens, columns]` with those of `part`
/// `[rows, columns]`: the gradient of [`scatter_add_weighted`] for the weights.
///
/// # Errors
/// If the shapes do not fit, or a row is not below the number of tokens.
pub fn row_dots(dy: &Tensor, part: &Tensor, rows: &[u32]) -> Result<Vec<f32>> {
    const NAME: &str = "row_dots";
    let columns = check(NAME, dy, rows, None)?;
    let wanted = [rows.len(), columns];
    expect_shape(part.dims() == wanted, NAME, "the part", wanted, part.dims())?;
    if !(is_fused(dy) && is_fused(part)) {
        return reference::row_dots(dy, part, rows);
    }
    let dots = with_slices([dy, part], |[dy, part]| {
        let dot = |(i, &row): (usize, &u32)| {
            let a = &dy[row as usize * columns..][..columns];
            dispatch_best(Dot { a, b: &part[i * columns..][..columns] })
        };
        rows.par_iter().enumerate().with_min_len(16).map(dot).collect()
    })?;
    Ok(dots)
}

fn check(name: &'static str, x: &Tensor, rows: &[u32], weights: Option<&[f32]>) -> Result<usize> {
    let (tokens, columns) = x.dims2()?;
    if let Some(row) = rows.iter().find(|&&row| row as usize >= tokens) {
        return Err(Error::shape(name, "a row's number", format!("below {tokens}"), row));
    }
    if let Some(weights) = weights {
        let found = weights.len();
        expect_shape(found == rows.len(), name, "the number of weights", rows.len(), found)?;
    }
    Ok(columns)
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
