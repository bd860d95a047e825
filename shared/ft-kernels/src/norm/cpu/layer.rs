//! The layer norm of rows.

use candle_core::Tensor;

use super::sums::{part, sum_of};
use crate::error::Result;
use crate::parallel::for_row_blocks;
use crate::simd::{Isa, Kernel, LANES, Simd, dispatch};
use crate::tensor::{from_vec, unwritten, with_slices};

/// See [`crate::norm::layer_norm`].
pub fn forward(
    isa: Isa,
    (rows, columns): (usize, usize),
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    let all = [x, w, b.unwrap_or(w)];
    // SAFETY: every row is in one of the blocks below, and the kernel writes each element of its rows.
    let mut y = unsafe { unwritten(rows * columns) };
    with_slices(all, |[x, w, bias]| {
        for_row_blocks(&mut y, columns, |first, y| {
            let x = &x[first * columns..][..y.len()];
            dispatch(isa, Forward { x, w, b: b.is_some().then_some(bias), y, eps: eps as f32 });
        });
    })?;
    Ok(from_vec(y, (rows, columns))?)
}

/// See [`crate::norm::layer_norm_backward_add`].
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

/// A row's mean, and 1 / sqrt(var + eps).
#[inline(always)]
fn moments<S: Simd>(s: S, x: &[f32], eps: f32) -> (f32, f32) {
    let n = x.len() as f32;
    let one = s.splat(1.0);
    let sum = sum_of(
        s,
        x.len(),
        #[inline(always)]
        |at| (s.load_part(&x[at..], 0.0), one),
    );
    let mean = sum / n;
    let squares = sum_of(
        s,
        x.len(),
        #[inline(always)]
        |at| {
            let centred = centred(s, x, at, mean);
            (centred, centred)
        },
    );
    (mean, 1.0 / (squares / n + eps).sqrt())
}

/// The elements from `at` on less the mean, zeros past the row's end.
#[inline(always)]
fn centred<S: Simd>(s: S, x: &[f32], at: usize, mean: f32) -> S::V {
    s.sub(s.load_part(&x[at..], mean), s.splat(mean))
}

/// The gradients and weights from `at` on.
#[inline(always)]
fn pair<S: Simd>(s: S, dy: &[f32], w: &[f32], at: usize) -> (S::V, S::V) {
    (s.load_part(&dy[at..], 0.0), s.load_part(&w[at..], 0.0))
}

struct Forward<'a> {
    x: &'a [f32],
    w: &'a [f32],
    b: Option<&'a [f32]>,
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
            let (mean, scale) = moments(s, x, self.eps);
            let scale = s.splat(scale);
            for at in (0..columns).step_by(LANES) {
                let normed = s.mul(centred(s, x, at, mean), scale);
                let weight = s.load_part(&self.w[at..], 0.0);
                let bias = self.b.map_or(s.splat(0.0), |b| s.load_part(&b[at..], 0.0));
                s.store_part(part(y, at), s.fma(normed, weight, bias));
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
        let n = columns as f32;
        let rows = self.x.chunks_exact(columns).zip(self.dy.chunks_exact(columns));
        for (row, ((x, dy), dx)) in rows.zip(self.dx.chunks_exact_mut(columns)).enumerate() {
            let (mean, scale) = moments(s, x, self.eps);
            let sum = sum_of(
                s,
                columns,
                #[inline(always)]
                |at| pair(s, dy, self.w, at),
            );
            let along = sum_of(
                s,
                columns,
                #[inline(always)]
                |at| {
                    let (dy, w) = pair(s, dy, self.w, at);
                    (s.mul(dy, w), centred(s, x, at, mean))
                },
            );
            let middle = s.splat(sum / n);
            let back = s.splat(along / n * scale * scale);
            let scale = s.splat(scale);
            for at in (0..columns).step_by(LANES) {
                let (dy, w) = pair(s, dy, self.w, at);
                let g = s.sub(s.mul(dy, w), middle);
                let d = s.mul(s.fnma(centred(s, x, at, mean), back, g), scale);
                let d = match self.residual {
                    Some(r) => s.add(d, s.load_part(&r[row * columns..][at..columns], 0.0)),
                    None => d,
                };
                s.store_part(part(dx, at), d);
            }
        }
    }
}
