//! Norms of rows: root-mean-square, and the layer norm with a mean and a bias.
//!
//! * Root-mean-square: `y = w * x / sqrt(mean(x^2) + eps)` (Zhang and Sennrich 2019, "Root Mean Square Layer
//!   Normalization"). Its gradient, with `n` columns, `s = 1 / sqrt(mean(x^2) + eps)` and `g = w * dy`:
//!   `dx = s g - x s^3 sum(g x) / n`.
//! * Layer norm: `y = w * (x - mean(x)) / sqrt(var(x) + eps) + b` with the variance over `n` columns divided by `n` (Ba,
//!   Kiros and Hinton 2016, "Layer Normalization", section 3). Its gradient, with `s = 1 / sqrt(var(x) + eps)`,
//!   `c = x - mean(x)` and `g = w * dy`: `dx = s (g - mean(g) - c s^2 mean(g c))`.
//!
//! Nothing but `x` is needed from the forward pass.

mod cpu;
mod cuda;
pub mod reference;

use candle_core::Tensor;

pub(crate) use self::cpu::sums;
pub(crate) use self::cuda::weight as weight_for_kernels;
use crate::backend::{Backend, Compute};
use crate::error::{Result, expect_shape};

/// Normalises the rows of `x` `[tokens, hidden]` and multiplies by the weights `w` `[hidden]`.
///
/// # Errors
/// If the shapes do not fit.
pub fn rms_norm(compute: Compute, x: &Tensor, w: &Tensor, eps: f64) -> Result<Tensor> {
    let shape = check("rms_norm", x, w)?;
    match compute.backend {
        Backend::Cpu => cpu::rms::forward(compute.isa, shape, x, w, eps),
        Backend::Reference => reference::rms_norm(x, w, eps),
        Backend::Cuda => cuda::rms_norm(x, w, eps),
    }
}

/// The gradient for `x` of [`rms_norm`], from that of its result.
///
/// # Errors
/// If the shapes do not fit.
pub fn rms_norm_backward(compute: Compute, dy: &Tensor, x: &Tensor, w: &Tensor, eps: f64) -> Result<Tensor> {
    rms_backward(compute, dy, x, w, eps, None)
}

/// [`rms_norm_backward`] plus the gradient that comes around the normalised branch, as in
/// `h + f(rms_norm(h))`.
///
/// # Errors
/// If the shapes do not fit.
pub fn rms_norm_backward_add(
    compute: Compute,
    dy: &Tensor,
    x: &Tensor,
    w: &Tensor,
    eps: f64,
    residual: &Tensor,
) -> Result<Tensor> {
    rms_backward(compute, dy, x, w, eps, Some(residual))
}

fn rms_backward(
    compute: Compute,
    dy: &Tensor,
    x: &Tensor,
    w: &Tensor,
    eps: f64,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let shape = check_backward("rms_norm_backward", dy, x, w, residual)?;
    match compute.backend {
        Backend::Cpu => cpu::rms::backward(compute.isa, shape, dy, x, w, eps, residual),
        Backend::Reference => plus(reference::rms_norm_backward(dy, x, w, eps)?, residual),
        Backend::Cuda => cuda::rms_norm_backward(dy, x, w, eps, residual),
    }
}

/// Normalises the rows of `x` `[tokens, hidden]` to mean 0 and variance 1, multiplies by `w`
/// `[hidden]` and adds `b` `[hidden]`, if any.
///
/// # Errors
/// If the shapes do not fit.
pub fn layer_norm(compute: Compute, x: &Tensor, w: &Tensor, b: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    let (rows, columns) = check("layer_norm", x, w)?;
    if let Some(b) = b {
        expect_shape(b.dims() == [columns], "layer_norm", "the bias", [columns], b.dims())?;
    }
    match compute.backend {
        Backend::Cpu => cpu::layer::forward(compute.isa, (rows, columns), x, w, b, eps),
        Backend::Reference => reference::layer_norm(x, w, b, eps),
        Backend::Cuda => cuda::layer_norm(x, w, b, eps),
    }
}

/// The gradient for `x` of [`layer_norm`], from that of its result, plus the gradient that comes
/// around the normalised branch, if any, as in `h + f(layer_norm(h))`.
///
/// # Errors
/// If the shapes do not fit.
pub fn layer_norm_backward_add(
    compute: Compute,
    dy: &Tensor,
    x: &Tensor,
    w: &Tensor,
    eps: f64,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let shape = check_backward("layer_norm_backward", dy, x, w, residual)?;
    match compute.backend {
        Backend::Cpu => cpu::layer::backward(compute.isa, shape, dy, x, w, eps, residual),
        Backend::Reference => plus(reference::layer_norm_backward(dy, x, w, eps)?, residual),
        Backend::Cuda => cuda::layer_norm_backward(dy, x, w, eps, residual),
    }
}

/// The rows and columns of `x`, which the weight must fit.
fn check(name: &'static str, x: &Tensor, w: &Tensor) -> Result<(usize, usize)> {
    let (rows, columns) = x.dims2()?;
    expect_shape(w.dims() == [columns], name, "the weight", [columns], w.dims())?;
    Ok((rows, columns))
}

fn check_backward(
    name: &'static str,
    dy: &Tensor,
    x: &Tensor,
    w: &Tensor,
    residual: Option<&Tensor>,
) -> Result<(usize, usize)> {
    let shape = check(name, x, w)?;
    expect_shape(dy.dims() == x.dims(), name, "dy", x.dims(), dy.dims())?;
    if let Some(r) = residual {
        expect_shape(r.dims() == x.dims(), name, "residual", x.dims(), r.dims())?;
    }
    Ok(shape)
}

fn plus(dx: Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
    Ok(match residual {
        Some(residual) => (dx + residual)?,
        None => dx,
    })
}
