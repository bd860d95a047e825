//! Norms of groups of columns on the CPU, in place.

use candle_core::Tensor;

use super::HeadColumns;
use crate::error::Result;
use crate::norm::sums::{inverse_rms, rms_factors};
use crate::parallel::for_row_blocks;
use crate::simd::{Isa, Kernel, LANES, Simd, dispatch};
use crate::tensor::{with_slice_mut, with_slices};

/// See [`super::head_norm`].
pub fn head_norm(isa: Isa, x: Tensor, w: &Tensor, place: HeadColumns, eps: f64) -> Result<Tensor> {
    with_slices([w], |[w]| {
        with_slice_mut(&x, |x| {
            for_row_blocks(x, place.columns, |_, x| dispatch(isa, Forward { x, w, place, eps: eps as f32 }));
        })
    })??;
    Ok(x)
}

/// See [`super::head_norm_backward`].
pub fn head_norm_backward(
    isa: Isa,
    dy: Tensor,
    x: &Tensor,
    w: &Tensor,
    place: HeadColumns,
    eps: f64,
) -> Result<Tensor> {
    with_slices([x, w], |[x, w]| {
        with_slice_mut(&dy, |dy| {
            for_row_blocks(dy, place.columns, |first, dy| {
                let x = &x[first * place.columns..][..dy.len()];
                dispatch(isa, Backward { dy, x, w, place, eps: eps as f32 });
            });
        })
    })??;
    Ok(dy)
}

struct Forward<'a> {
    x: &'a mut [f32],
    w: &'a [f32],
    place: HeadColumns,
    eps: f32,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let HeadColumns { columns, first, groups } = self.place;
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
    place: HeadColumns,
    eps: f32,
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let HeadColumns { columns, first, groups } = self.place;
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
