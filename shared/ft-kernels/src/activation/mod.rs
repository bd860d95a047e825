//! Activations: gated, `h = a(gate) * up`, and plain, `h = a(x)`.
//!
//! Gate and up come from one merged product, gate first: `[tokens, 2 * inter]`. The gradients are
//! `d_up = dh a(gate)` and `d_gate = dh up a'(gate)`; for a plain one `dx = dh a'(x)`.

mod cpu;
mod cuda;
mod operator;
pub mod reference;

pub use operator::{gated, gated_backward_inplace, plain, plain_backward_inplace};

use candle_core::Tensor;

use crate::error::{Result, expect_shape};

/// What stands between two matrix products.
#[derive(Clone, Copy, Debug, PartialEq)]
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
    /// `max(x, 0)^2` (So et al., "Primer", 2021, section 4.1; Arcee, Nemotron).
    ReluSquared,
    /// xIELU with the numbers of a layer.
    Xielu(Xielu),
}

/// The numbers of xIELU (Huang and Schlag, "Deriving Activation Functions Using Integration", 2024, equation 8): with
/// `p = positive` and `n = negative` it is `p x^2 + beta x` above 0, and `n (e^min(x, eps) - 1 - x) + beta x` elsewhere.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Xielu {
    /// The curvature above 0, above 0 itself.
    pub positive: f32,
    /// The same below 0, above `beta`.
    pub negative: f32,
    /// The slope at 0.
    pub beta: f32,
    /// The largest exponent, just below 0.
    pub eps: f32,
}

impl Default for Xielu {
    /// What Apertus begins its training with.
    fn default() -> Self {
        Self { positive: 0.8, negative: 0.8, beta: 0.5, eps: -1e-6 }
    }
}

fn check(name: &'static str, gate_up: &Tensor) -> Result<(usize, usize)> {
    let (rows, columns) = gate_up.dims2()?;
    expect_shape(columns % 2 == 0, name, "gate_up's columns", "an even number", columns)?;
    Ok((rows, columns / 2))
}
