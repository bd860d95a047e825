//! The root-mean-square norm of groups of columns, in place: the norms of queries and keys.
//!
//! Qwen3 and Gemma 3 normalise every head by itself with one weight for all of them; OLMo2
//! normalises all the query heads together (one group), and all the key heads. The formulas are those
//! of [`crate::norm::rms_norm`], with a group in the place of a row.

use candle_core::Tensor;

use crate::error::{Result, expect_shape};
use crate::norm::sums::{inverse_rms, rms_factors};
use crate::parallel::for_row_blocks;
use crate::simd::{Kernel, LANES, Simd, dispatch_best};
use crate::tensor::{is_fused, with_slice_mut, with_slices};

/// Normalises, in every row of `x` `[tokens, columns]`, each of `groups` adjacent groups of columns
/// from `first_column` on, and multiplies it by the weights `w` `[width]`; the other columns stay.
///
/// On the CPU this happens in `x`'s own memory, so every other handle on it sees the change.
///
/// # Errors
/// If the shapes do not fit.
pub fn head_norm(x: Tensor, w: &Tensor, first_column: usize, groups: usize, eps: f64) -> Result<Tensor> {
    let place = check("head_norm", &x, w, first_column, groups)?;
    if !(is_fused(&x) && is_fused(w)) {
        return reference::head_norm(&x, w, first_column, groups, eps);
    }
    with_slices([w], |[w]| {
        with_slice_mut(&x, |x| {
            for_row_blocks(x, place.columns, |_, x| dispatch_best(Forward { x, w, place, eps: eps as f32 }));
        })
    })??;
    Ok(x)
}

/// Turns the gradient `dy` of [`head_norm`]'s result into that of its input `x`, which is needed as
/// it was before the norm; the other columns of `dy` stay.
///
/// On the CPU this happens in `dy`'s own memory, so every other handle on it sees the change.
///
/// # Errors
/// If the shapes do not fit.
pub fn head_norm_backward(
    dy: Tensor,
    x: &Tensor,
    w: &Tensor,
    first_column: usize,
    groups: usize,
    eps: f64,
) -> Result<Tensor> {
    const NAME: &str = "head_norm_backward";
    let place = check(NAME, x, w, first_column, groups)?;
    expect_shape(dy.dims() == x.dims(), NAME, "dy", x.dims(), dy.dims())?;
    if !(is_fused(&dy) && is_fused(x) && is_fused(w)) {
        return reference::head_norm_backward(&dy, x, w, first_column, groups, eps);
    }
    with_slices([x, w], |[x, w]| {
        with_slice_mut(&dy, |dy| {
            for_row_blocks(dy, place.columns, |first, dy| {
                let x = &x[first * place.columns..][..dy.len()];
                dispatch_best(Backward { dy, x, w, place, eps: eps as f32 });
            });
        })
    })??;
    Ok(dy)
}

/// Where the groups lie in a row.
#[derive(Clone, Copy)]
struct Place {
    columns: usize,
    first: usize,
    groups: usize,
}

fn check(name: &'static str, x: &Tensor, w: &Tensor, first: usize, groups: usize) -> Result<Place> {
    let (_, columns) = x.dims2()?;
    let width = w.dims1()?;
    expect_shape(width > 0, name, "the weight's length", "1 or more", width)?;
    let wanted = first + groups * width;
    expect_shape(columns >= wanted, name, "x's columns", format!("{wanted} or more"), columns)?;
    Ok(Place { columns, first, groups })
}

struct Forward<'a> {
    x: &'a mut [f32],
    w: &'a [f32],
    place: Place,
    eps: f32,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Place { columns, first, groups } = self.place;
        for row in self.x.chunks_exact_mut(columns) {
            for x in row[first..].chunks_exact_mut(self.w.len()).take(groups) {
                let scale = s.splat(inverse_rms(s, x, self.eps));
                for (x, w) in x.chunks_mut(LANES).zip(self.w.chunks(LANES)) {
                    let normed = s.mul(s.load_part(x, 0.0), scale);
                    s.store_part(x, s.mul(normed, s.load_part(w, 0.0)));
                }
            }
        }
    }
}

struct Backward<'a> {
    dy: &'a mut [f32],
    x: &'a [f32],
    w: &'a [f32],
    place: Place,
    eps: f32,
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Place { columns, first, groups } = self.place;
        let width = self.w.len();
        for (dy, x) in self.dy.chunks_exact_mut(columns).zip(self.x.chunks_exact(columns)) {
            let pairs = dy[first..].chunks_exact_mut(width).zip(x[first..].chunks_exact(width));
            for (dy, x) in pairs.take(groups) {
                let (scale, back) = rms_factors(s, dy, x, self.w, self.eps);
                let (scale, back) = (s.splat(scale), s.splat(back));
                let parts = x.chunks(LANES).zip(self.w.chunks(LANES));
                for (dy, (x, w)) in dy.chunks_mut(LANES).zip(parts) {
                    let g = s.mul(s.load_part(dy, 0.0), s.load_part(w, 0.0));
                    s.store_part(dy, s.fnma(s.load_part(x, 0.0), back, s.mul(g, scale)));
                }
            }
        }
    }
}

/// The same in candle operations, on any device.
pub mod reference {
    use candle_core::Tensor;

    use crate::error::Result;
    use crate::norm::reference::{rms_norm, rms_norm_backward};

    /// See [`super::head_norm`]; `x` is left as it is, and candle can differentiate it.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn head_norm(x: &Tensor, w: &Tensor, first_column: usize, groups: usize, eps: f64) -> Result<Tensor> {
        super::check("head_norm", x, w, first_column, groups)?;
        replace(x, w, first_column, groups, &rms_norm(&rows(x, w, first_column, groups)?, w, eps)?)
    }

    /// See [`super::head_norm_backward`]; `dy` is left as it is.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn head_norm_backward(
        dy: &Tensor,
        x: &Tensor,
        w: &Tensor,
        first_column: usize,
        groups: usize,
        eps: f64,
    ) -> Result<Tensor> {
        super::check("head_norm_backward", x, w, first_column, groups)?;
        let (d, inputs) = (rows(dy, w, first_column, groups)?, rows(x, w, first_column, groups)?);
        replace(dy, w, first_column, groups, &rms_norm_backward(&d, &inputs, w, eps)?)
    }

    /// The groups as rows of a matrix.
    fn rows(x: &Tensor, w: &Tensor, first: usize, groups: usize) -> Result<Tensor> {
        let width = w.dims1()?;
        Ok(x.narrow(1, first, groups * width)?.reshape((x.dims()[0] * groups, width))?)
    }

    /// `x` with other groups.
    fn replace(x: &Tensor, w: &Tensor, first: usize, groups: usize, new: &Tensor) -> Result<Tensor> {
        let (tokens, columns) = x.dims2()?;
        let end = first + groups * w.dims1()?;
        let new = new.reshape((tokens, end - first))?;
        let parts = [x.narrow(1, 0, first)?, new, x.narrow(1, end, columns - end)?];
        let parts: Vec<_> = parts.into_iter().filter(|part| part.elem_count() > 0).collect();
        Ok(Tensor::cat(&parts, 1)?)
    }
}
