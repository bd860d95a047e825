//! Residual connections with a factor (Granite's multipliers), in place.

mod cpu;
mod cuda;
pub mod reference;

use candle_core::Tensor;

use crate::backend::{Backend, Compute};
use crate::error::{Result, expect_shape};

/// `base + factor * y`, of any shape. The gradient of `base` is the result's, that of `y` is the
/// result's times the factor.
///
/// On the CPU this happens in `y`'s own memory, so every other handle on it sees the change.
///
/// # Errors
/// If the shapes differ.
pub fn add_scaled(compute: Compute, base: &Tensor, y: Tensor, factor: f32) -> Result<Tensor> {
    expect_shape(base.dims() == y.dims(), "add_scaled", "y", base.dims(), y.dims())?;
    match compute.backend {
        Backend::Cpu => cpu::add_scaled(compute.isa, base, y, factor),
        Backend::Reference => reference::add_scaled(base, &y, factor),
        Backend::Cuda => cuda::add_scaled(Some(base), &y, factor),
    }
}

/// `factor * y`, of any shape.
///
/// On the CPU this happens in `y`'s own memory, so every other handle on it sees the change.
///
/// # Errors
/// If candle refuses an operation.
pub fn scaled(compute: Compute, y: Tensor, factor: f32) -> Result<Tensor> {
    match compute.backend {
        Backend::Cpu => cpu::scaled(y, factor),
        Backend::Reference => reference::scaled(&y, factor),
        Backend::Cuda => cuda::add_scaled(None, &y, factor),
    }
}
