//! The same in candle operations, on any device.

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
