//! The norms of groups of columns by kernels of our own: those of rows (`kernels/rms_norm.cu`), a block a group, in place.

use candle_core::{DType, Tensor};

use super::HeadColumns;
use crate::cuda::{Grid, Launch, block_of};
use crate::error::Result;
use crate::norm::weight_for_kernels;

/// The most threads of a block that has a group.
const THREADS: usize = 512;

/// See [`super::head_norm`]; `x`'s own memory takes the result.
pub fn head_norm(x: &Tensor, w: &Tensor, place: HeadColumns, eps: f64) -> Result<Tensor> {
    let (x, w, dtype) = (x.contiguous()?, &weight_for_kernels(w)?, x.dtype());
    let (rows, width) = (x.dims()[0], w.dims1()?);
    let call = Launch::new("rms_norm", "head_norm", dtype).change(&x).read_as(w, DType::F32);
    let call = call.int(place.groups).int(width).int(place.columns).int(place.first).f32(eps as f32);
    // SAFETY: groups of `width` from `first` on lie within a row of `columns`, as the operator has checked.
    unsafe { call.run(Grid::line(rows * place.groups, block_of(width, dtype, THREADS)))? };
    Ok(x)
}

/// See [`super::head_norm_backward`]; `dy`'s own memory takes the gradient.
pub fn head_norm_backward(dy: &Tensor, x: &Tensor, w: &Tensor, place: HeadColumns, eps: f64) -> Result<Tensor> {
    let (dy, x, w, dtype) = (dy.contiguous()?, &x.contiguous()?, &weight_for_kernels(w)?, x.dtype());
    let (rows, width) = (x.dims()[0], w.dims1()?);
    let call = Launch::new("rms_norm", "head_norm_backward", dtype).change(&dy).read(x).read_as(w, DType::F32);
    let call = call.int(place.groups).int(width).int(place.columns).int(place.first).f32(eps as f32);
    // SAFETY: as above, and dy is of x's shape.
    unsafe { call.run(Grid::line(rows * place.groups, block_of(width, dtype, THREADS)))? };
    Ok(dy)
}
