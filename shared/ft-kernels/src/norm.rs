//! Root-mean-square normalisation of rows: `y = w * x / sqrt(mean(x^2) + eps)`.
//!
//! Its gradient, with `n` columns, `s = 1 / sqrt(mean(x^2) + eps)` and `g = w * dy`:
//! `dx = s g - x s^3 sum(g x) / n`. Nothing but `x` is needed from the forward pass.

use candle_core::Tensor;

use crate::error::{Result, expect_shape};
use crate::parallel::for_row_blocks;
use crate::simd::{Kernel, LANES, Simd, dispatch};
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
            dispatch(Forward { x, w, y, eps: eps as f32 });
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
            dispatch(Backward {
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

fn check(name: &'static str, x: &Tensor, w: &Tensor) -> Result<(usize, usize)> {
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
            let scale = inverse_rms(s, x, self.eps);
            let along = sum_of(
                s,
                columns,
                #[inline(always)]
                |at| {
                    let g = s.mul(s.load_part(&dy[at..], 0.0), s.load_part(&self.w[at..], 0.0));
                    (g, s.load_part(&x[at..], 0.0))
                },
            );
            let back = s.splat(along * scale * scale * scale / columns as f32);
            let scale = s.splat(scale);
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

/// Up to a vector's worth of elements from `at` on.
#[inline(always)]
fn part(values: &mut [f32], at: usize) -> &mut [f32] {
    let end = values.len().min(at + LANES);
    &mut values[at..end]
}

/// 1 / sqrt(mean(x^2) + eps).
#[inline(always)]
fn inverse_rms<S: Simd>(s: S, x: &[f32], eps: f32) -> f32 {
    let squares = sum_of(
        s,
        x.len(),
        #[inline(always)]
        |at| {
            let x = s.load_part(&x[at..], 0.0);
            (x, x)
        },
    );
    1.0 / (squares / x.len() as f32 + eps).sqrt()
}

/// The sum of products of the pairs of vectors that `pair` gives for 0, 16, 32, …, in four
/// interleaved sums.
#[inline(always)]
fn sum_of<S: Simd>(s: S, len: usize, pair: impl Fn(usize) -> (S::V, S::V)) -> f32 {
    let mut sums = [s.splat(0.0); 4];
    let mut at = 0;
    while at + 4 * LANES <= len {
        for (i, sum) in sums.iter_mut().enumerate() {
            let (a, b) = pair(at + i * LANES);
            *sum = s.fma(a, b, *sum);
        }
        at += 4 * LANES;
    }
    while at < len {
        let (a, b) = pair(at);
        sums[0] = s.fma(a, b, sums[0]);
        at += LANES;
    }
    s.sum4(sums)
}

/// The same in candle operations, on any device.
pub mod reference {
    use candle_core::{D, Tensor};

    use crate::error::Result;

    /// See [`super::rms_norm`]; candle can differentiate it.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn rms_norm(x: &Tensor, w: &Tensor, eps: f64) -> Result<Tensor> {
        Ok(x.broadcast_mul(&inverse_rms(x, eps)?)?.broadcast_mul(w)?)
    }

    /// See [`super::rms_norm_backward`].
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn rms_norm_backward(dy: &Tensor, x: &Tensor, w: &Tensor, eps: f64) -> Result<Tensor> {
        let s = inverse_rms(x, eps)?;
        let g = dy.broadcast_mul(w)?;
        let along = (&g * x)?.mean_keepdim(D::Minus1)?;
        let back = (along * s.powf(3.0)?)?;
        Ok((g.broadcast_mul(&s)? - x.broadcast_mul(&back)?)?)
    }

    fn inverse_rms(x: &Tensor, eps: f64) -> Result<Tensor> {
        let mean = x.sqr()?.mean_keepdim(D::Minus1)?;
        Ok((mean + eps)?.sqrt()?.recip()?)
    }
}
