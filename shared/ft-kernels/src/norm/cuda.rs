//! The norms by kernels of our own: `kernels/rms_norm.cu`, `kernels/layer_norm.cu`.

use candle_core::{DType, Tensor};

use crate::cuda::{Grid, Launch, Output, block_of};
use crate::error::Result;

/// The most threads of a block that has a row.
const THREADS: usize = 512;

/// See [`super::rms_norm`].
pub fn rms_norm(x: &Tensor, w: &Tensor, eps: f64) -> Result<Tensor> {
    let ((rows, columns), dtype) = (x.dims2()?, x.dtype());
    let (x, w) = (&x.contiguous()?, &weight(w)?);
    // SAFETY: the kernel writes every row.
    let mut y = unsafe { Output::new(x.device(), dtype, (rows, columns))? };
    let call = Launch::new("rms_norm", "rms_norm", dtype).read(x).read_as(w, DType::F32).write(&mut y);
    let call = call.int(1).int(columns).int(columns).int(0).f32(eps as f32);
    // SAFETY: a block has one row of `columns`, and so many weights there are.
    unsafe { call.run(Grid::line(rows, block_of(columns, dtype, THREADS)))? };
    Ok(y.into_tensor())
}

/// See [`super::rms_norm_backward_add`].
pub fn rms_norm_backward(dy: &Tensor, x: &Tensor, w: &Tensor, eps: f64, residual: Option<&Tensor>) -> Result<Tensor> {
    let ((rows, columns), dtype) = (x.dims2()?, x.dtype());
    let (dy, x, w) = (&dy.contiguous()?, &x.contiguous()?, &weight(w)?);
    let residual = residual.map(Tensor::contiguous).transpose()?;
    // SAFETY: the kernel writes every row.
    let mut dx = unsafe { Output::new(x.device(), dtype, (rows, columns))? };
    let call = Launch::new("rms_norm", "rms_norm_backward", dtype).read(dy).read(x).read_as(w, DType::F32);
    let call = call.read_any(residual.as_ref()).write(&mut dx);
    let call = call.int(1).int(columns).int(columns).int(0).f32(eps as f32);
    // SAFETY: a block has one row of `columns`, which all of these have.
    unsafe { call.run(Grid::line(rows, block_of(columns, dtype, THREADS)))? };
    Ok(dx.into_tensor())
}

/// See [`super::layer_norm`].
pub fn layer_norm(x: &Tensor, w: &Tensor, b: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    let ((rows, columns), dtype) = (x.dims2()?, x.dtype());
    let (x, w, b) = (&x.contiguous()?, &weight(w)?, b.map(weight).transpose()?);
    // SAFETY: the kernel writes every row.
    let mut y = unsafe { Output::new(x.device(), dtype, (rows, columns))? };
    let call = Launch::new("layer_norm", "layer_norm", dtype).read(x).read_as(w, DType::F32);
    let call = call.read_any_as(b.as_ref(), DType::F32).write(&mut y).int(columns).f32(eps as f32);
    // SAFETY: a block has one row of `columns`, and so many weights there are.
    unsafe { call.run(Grid::line(rows, block_of(columns, dtype, THREADS)))? };
    Ok(y.into_tensor())
}

/// See [`super::layer_norm_backward_add`].
pub fn layer_norm_backward(dy: &Tensor, x: &Tensor, w: &Tensor, eps: f64, residual: Option<&Tensor>) -> Result<Tensor> {
    let ((rows, columns), dtype) = (x.dims2()?, x.dtype());
    let (dy, x, w) = (&dy.contiguous()?, &x.contiguous()?, &weight(w)?);
    let residual = residual.map(Tensor::contiguous).transpose()?;
    // SAFETY: the kernel writes every row.
    let mut dx = unsafe { Output::new(x.device(), dtype, (rows, columns))? };
    let call = Launch::new("layer_norm", "layer_norm_backward", dtype).read(dy).read(x).read_as(w, DType::F32);
    let call = call.read_any(residual.as_ref()).write(&mut dx).int(columns).f32(eps as f32);
    // SAFETY: a block has one row of `columns`, which all of these have.
    unsafe { call.run(Grid::line(rows, block_of(columns, dtype, THREADS)))? };
    Ok(dx.into_tensor())
}

/// A weight as the kernels take it: f32, whatever the rows are.
pub(crate) fn weight(w: &Tensor) -> Result<Tensor> {
    Ok(w.to_dtype(DType::F32)?.contiguous()?)
}
