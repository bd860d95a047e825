//! The operator by its contract: whichever version the backend has.

use candle_core::Tensor;

use super::{Activation, check, cpu, cuda, reference};
use crate::backend::{Backend, Compute};
use crate::error::{Result, expect_shape};

/// `[tokens, 2 * inter]` (gate, then up) to `[tokens, inter]`.
///
/// # Errors
/// If `gate_up` is not a matrix with an even number of columns.
pub fn gated(compute: Compute, gate_up: &Tensor, activation: Activation) -> Result<Tensor> {
    let (rows, inter) = check("gated activation", gate_up)?;
    match compute.backend {
        Backend::Cpu => cpu::gated(compute.isa, (rows, inter), gate_up, activation),
        Backend::Reference => reference::gated(gate_up, activation),
        Backend::Cuda => cuda::gated(gate_up, activation),
    }
}

/// The gradient of [`gated`] for `gate_up`, from that of its result `dh` `[tokens, inter]`, in
/// `gate_up`'s own memory where it is on the CPU: every other handle on it sees the gradient.
///
/// # Errors
/// If the shapes do not fit.
pub fn gated_backward_inplace(
    compute: Compute,
    dh: &Tensor,
    gate_up: Tensor,
    activation: Activation,
) -> Result<Tensor> {
    const NAME: &str = "gated activation's backward";
    let (rows, inter) = check(NAME, &gate_up)?;
    expect_shape(dh.dims() == [rows, inter], NAME, "dh", [rows, inter], dh.dims())?;
    match compute.backend {
        Backend::Cpu => cpu::gated_backward_inplace(compute.isa, inter, dh, gate_up, activation),
        Backend::Reference => reference::gated_backward(dh, &gate_up, activation),
        Backend::Cuda => cuda::gated_backward(dh, &gate_up, activation),
    }
}

/// The activation of every element of `x`, of any shape.
///
/// # Errors
/// If candle refuses an operation.
pub fn plain(compute: Compute, x: &Tensor, activation: Activation) -> Result<Tensor> {
    match compute.backend {
        Backend::Cpu => cpu::plain(compute.isa, x, activation),
        Backend::Reference => reference::plain(x, activation),
        Backend::Cuda => cuda::plain(x, activation),
    }
}

/// The gradient of [`plain`] for `x`, from that of its result, in `x`'s own memory where it is on the
/// CPU: every other handle on it sees the gradient.
///
/// # Errors
/// If the shapes do not fit.
pub fn plain_backward_inplace(compute: Compute, dh: &Tensor, x: Tensor, activation: Activation) -> Result<Tensor> {
    expect_shape(dh.dims() == x.dims(), "activation's backward", "dh", x.dims(), dh.dims())?;
    match compute.backend {
        Backend::Cpu => cpu::plain_backward_inplace(compute.isa, dh, x, activation),
        Backend::Reference => reference::plain_backward(dh, &x, activation),
        Backend::Cuda => cuda::plain_backward(dh, &x, activation),
    }
}
