//! Root-mean-square normalisation of rows: `y = w * x / sqrt(mean(x^2) + eps)` (Zhang and Sennrich
//! 2019, "Root Mean Square Layer Normalization").
//!
//! Its gradient, with `n` columns, `s = 1 / sqrt(mean(x^2) + eps)` and `g = w * dy`:
//! `dx = s g - x s^3 sum(g x) / n`. Nothing but `x` is needed from the forward pass.

use candle_core::Tensor;

use super::reference;
use super::sums::{inverse_rms, part, rms_factors};
use crate::error::{Result, expect_shape};
use crate::parallel::for_row_blocks;
use crate::simd::{Kernel, LANES, Simd, dispatch_best};
use crate::tensor::{from_vec, is_fused, uninit, with_slices};

/// Normalises the rows of `x` `[tokens, hidden]` and multiplies by the weights `w` `[hidden]`.
///
/// # Errors
/// If the shapes do not fit.
pub fn rms_norm(x: &Tensor, w: &Tensor, eps: f64) -> Result<Tensor> {
    let (rows, columns) = check("rms_norm", x, w)?;
    if !(is_fused(x) && is_fused(w)) {
        return reference::rms_norm(x, w, eps);
    }
    let mut y = uninit(rows * columns);
    with_slices([x, w], |[x, w]| {
        for_row_blocks(&mut y, columns, |first, y| {
            let x = &x[first * columns..][..y.len()];
            dispatch_best(Forward { x, w, y, eps: eps as f32 });
        });
    })?;
    Ok(from_vec(y, (rows, columns))?)
}

/// The gradient for `x` of [`rms_norm`], from that of its result.
///
/// # Errors
/// If the shapes do not fit.
pub fn rms_norm_backward(dy: &Tensor, x: &Tensor, w: &Tensor, eps: f64) -> Result<Tensor> {
    backward(dy, x, w, eps, None)
}

/// [`rms_norm_backward`] plus the gradient that comes around the normalised branch, as in
/// `h + f(rms_norm(h))`.
///
/// # Errors
/// If the shapes do not fit.
pub fn rms_norm_backward_add(dy: &Tensor, x: &Tensor, w: &Tensor, eps: f64, residual: &Tensor) -> Result<Tensor> {
    backward(dy, x, w, eps, Some(residual))
}

fn backward(dy: &Tensor, x: &Tensor, w: &Tensor, eps: f64, residual: Option<&Tensor>) -> Result<Tensor> {
    const NAME: &str = "rms_norm_backward";
    let (rows, columns) = check(NAME, x, w)?;
    expect_shape(dy.dims() == x.dims(), NAME, "dy", x.dims(), dy.dims())?;
    if let Some(r) = residual {
        expect_shape(r.dims() == x.dims(), NAME, "residual", x.dims(), r.dims())?;
    }
    let all = [dy, x, w, residual.unwrap_or(dy)];
    if !all.into_iter().all(is_fused) {
        let dx = reference::rms_norm_backward(dy, x, w, eps)?;
        return Ok(match residual {
            Some(residual) => (dx + residual)?,
            None => dx,
        });
    }
    let mut dx = uninit(rows * columns);
    with_slices(all, |[dy, x, w, r]| {
        for_row_blocks(&mut dx, columns, |first, dx| {
            let rows = first * columns..first * columns + dx.len();
            dispatch_best(Backward {
                dy: &dy[rows.clone()],
                x: &x[rows.clone()],
                w,
                residual: residual.is_some().then(|| &r[rows]),
                dx,
                eps: eps as f32,
            });
        });
    })?;
    Ok(from_vec(dx, (rows, columns))?)
}

/// The rows and columns of `x`, which the weight must fit.
pub(super) fn check(name: &'static str, x: &Tensor, w: &Tensor) -> Result<(usize, usize)> {
    let (rows, columns) = x.dims2()?;
    expect_shape(w.dims() == [columns], name, "the weight", [columns], w.dims())?;
    Ok((rows, columns))
}

struct Forward<'a> {
    x: &'a [f32],
    w: &'a [f32],
    y: &'a mut [f32],
    eps: f32,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let columns = self.w.len();
        let rows = self.x.chunks_exact(columns);
        for (x, y) in rows.zip(self.y.chunks_exact_mut(columns)) {
            let scale = s.splat(inverse_rms(s, x, self.eps));
            let parts = x.chunks(LANES).zip(self.w.chunks(LANES));
            for ((x, w), y) in parts.zip(y.chunks_mut(LANES)) {
                let normed = s.mul(s.load_part(x, 0.0), scale);
                s.store_part(y, s.mul(normed, s.load_part(w, 0.0)));
            }
        }
    }
}

struct Backward<'a> {
    dy: &'a [f32],
    x: &'a [f32],
    w: &'a [f32],
    residual: Option<&'a [f32]>,
    dx: &'a mut [f32],
    eps: f32,
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let columns = self.w.len();
        let rows = self.x.chunks_exact(columns).zip(self.dy.chunks_exact(columns));
        for (row, ((x, dy), dx)) in rows.zip(self.dx.chunks_exact_mut(columns)).enumerate() {
            let (scale, back) = rms_factors(s, dy, x, self.w, self.eps);
            let (scale, back) = (s.splat(scale), s.splat(back));
            for at in (0..columns).step_by(LANES) {
                let g = s.mul(s.load_part(&dy[at..], 0.0), s.load_part(&self.w[at..], 0.0));
                let d = s.fnma(s.load_part(&x[at..], 0.0), back, s.mul(g, scale));
                let d = match self.residual {
                    Some(r) => s.add(d, s.load_part(&r[row * columns..][at..columns], 0.0)),
                    None => d,
                };
                s.store_part(part(dx, at), d);
            }
        }
    }
}
