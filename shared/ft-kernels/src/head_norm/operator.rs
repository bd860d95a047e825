//! The operator by its contract: whichever version the backend has.

use candle_core::Tensor;

use super::{check, cpu, cuda, reference};
use crate::backend::{Backend, Compute};
use crate::error::{Result, expect_shape};

/// Normalises, in every row of `x` `[tokens, columns]`, each of `groups` adjacent groups of columns
/// from `first_column` on, and multiplies it by the weights `w` `[width]`; the other columns stay.
///
/// On the CPU this happens in `x`'s own memory, so every other handle on it sees the change.
///
/// # Errors
/// If the shapes do not fit.
pub fn head_norm(
    compute: Compute,
    x: Tensor,
    w: &Tensor,
    first_column: usize,
    groups: usize,
    eps: f64,
) -> Result<Tensor> {
    let place = check("head_norm", &x, w, first_column, groups)?;
    match compute.backend {
        Backend::Cpu => cpu::head_norm(compute.isa, x, w, place, eps),
        Backend::Reference => reference::head_norm(&x, w, first_column, groups, eps),
        Backend::Cuda => cuda::head_norm(&x, w, place, eps),
    }
}

/// Turns the gradient `dy` of [`head_norm`]'s result into that of its input `x`, which is needed as
/// it was before the norm; the other columns of `dy` stay.
///
/// On the CPU this happens in `dy`'s own memory, so every other handle on it sees the change.
///
/// # Errors
/// If the shapes do not fit.
pub fn head_norm_backward(
    compute: Compute,
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
    match compute.backend {
        Backend::Cpu => cpu::head_norm_backward(compute.isa, dy, x, w, place, eps),
        Backend::Reference => reference::head_norm_backward(&dy, x, w, first_column, groups, eps),
        Backend::Cuda => cuda::head_norm_backward(&dy, x, w, place, eps),
    }
}
