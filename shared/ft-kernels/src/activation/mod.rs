//! Activations: gated, `h = a(gate) * up`, and plain, `h = a(x)`.
//!
//! Gate and up come from one merged product, gate first: `[tokens, 2 * inter]`. The gradients are
//! `d_up = dh a(gate)` and `d_gate = dh up a'(gate)`; for a plain one `dx = dh a'(x)`.

mod cpu;
pub mod reference;

use candle_core::Tensor;

use crate::backend::{Backend, Compute};
use crate::error::{Result, expect_shape};

/// What stands between two matrix products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x sigmoid(x)`, also called swish.
    Silu,
    /// GELU's approximation with the hyperbolic tangent,
    /// `x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2` (Hendrycks and Gimpel 2016, section 2).
    GeluTanh,
    /// GELU itself, `x (1 + erf(x / sqrt(2))) / 2`.
    Gelu,
    /// `max(x, 0)`.
    Relu,
}

/// `[tokens, 2 * inter]` (gate, then up) to `[tokens, inter]`.
///
/// # Errors
/// If `gate_up` is not a matrix with an even number of columns.
pub fn gated(compute: Compute, gate_up: &Tensor, activation: Activation) -> Result<Tensor> {
    let (rows, inter) = check("gated activation", gate_up)?;
    match compute.backend {
        Backend::Cpu => cpu::gated(compute.isa, (rows, inter), gate_up, activation),
        Backend::Reference | Backend::Cuda => reference::gated(gate_up, activation),
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
        Backend::Reference | Backend::Cuda => reference::gated_backward(dh, &gate_up, activation),
    }
}

/// The activation of every element of `x`, of any shape.
///
/// # Errors
/// If candle refuses an operation.
pub fn plain(compute: Compute, x: &Tensor, activation: Activation) -> Result<Tensor> {
    match compute.backend {
        Backend::Cpu => cpu::plain(compute.isa, x, activation),
        Backend::Reference | Backend::Cuda => reference::plain(x, activation),
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
        Backend::Reference | Backend::Cuda => reference::plain_backward(dh, &x, activation),
    }
}

fn check(name: &'static str, gate_up: &Tensor) -> Result<(usize, usize)> {
    let (rows, columns) = gate_up.dims2()?;
    expect_shape(columns % 2 == 0, name, "gate_up's columns", "an even number", columns)?;
    Ok((rows, columns / 2))
}
