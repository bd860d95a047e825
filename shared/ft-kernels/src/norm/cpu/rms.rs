//! The root-mean-square norm of rows.

use candle_core::Tensor;

use super::sums::{inverse_rms, part, rms_factors};
use crate::error::Result;
use crate::parallel::for_row_blocks;
use crate::simd::{Isa, Kernel, LANES, Simd, dispatch};
use crate::tensor::{from_vec, unwritten, with_slices};

/// See [`crate::norm::rms_norm`].
pub fn forward(isa: Isa, (rows, columns): (usize, usize), x: &Tensor, w: &Tensor, eps: f64) -> Result<Tensor> {
    // SAFETY: every row is in one of the blocks below, and the kernel writes each element of its rows.
    let mut y = unsafe { unwritten(rows * columns) };
    with_slices([x, w], |[x, w]| {
        for_row_blocks(&mut y, columns, |first, y| {
            let x = &x[first * columns..][..y.len()];
            dispatch(isa, Forward { x, w, y, eps: eps as f32 });
        });
    })?;
    Ok(from_vec(y, (rows, columns))?)
}

/// See [`crate::norm::rms_norm_backward`].
pub fn backward(
    isa: Isa,
    (rows, columns): (usize, usize),
    dy: &Tensor,
    x: &Tensor,
    w: &Tensor,
    eps: f64,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let all = [dy, x, w, residual.unwrap_or(dy)];
    // SAFETY: every row is in one of the blocks below, and the kernel writes each element of its rows.
    let mut dx = unsafe { unwritten(rows * columns) };
    with_slices(all, |[dy, x, w, r]| {
        for_row_blocks(&mut dx, columns, |first, dx| {
            let rows = first * columns..first * columns + dx.len();
            dispatch(
                isa,
                Backward {
                    dy: &dy[rows.clone()],
                    x: &x[rows.clone()],
                    w,
                    residual: residual.is_some().then(|| &r[rows]),
                    dx,
                    eps: eps as f32,
                },
            );
        });
    })?;
    Ok(from_vec(dx, (rows, columns))?)
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
