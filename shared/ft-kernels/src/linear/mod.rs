//! The linear layer with low-rank adapters, forward and backward.
//!
//! `y = x·Wᵀ + bias + residual`, and for each adapter, on its own range of output columns,
//! `y += s·drop(x)·Aᵀ·Bᵀ` (Hu et al., "LoRA", 2021, section 4.1), or, where it has a magnitude, what
//! [`dora`] says. `W` is frozen: it gets no gradient, so its backward is one product and not two. The
//! gradients of an adapter are formed one sequence at a time, for the sequence is the unit of summation
//! of a training step.

mod backward;
pub(crate) mod by_rows;
mod cuda;
mod dora;
mod floats;
mod forward;
mod operator;
mod products;
pub mod reference;
mod stack;
mod weight;

use candle_core::{Result, Tensor};

use crate::philox::Stream;

pub use self::by_rows::{RowSource, Rows};
pub use self::dora::dora_norm;
pub use self::products::{add_product, product, product_few, weight_gradient};
pub use self::weight::Weight;
pub use crate::dropout::dropout_factors;

/// An adapter of a range of a layer's output columns.
#[derive(Clone)]
pub struct Lora<'a> {
    /// `[r, in]`
    pub a: &'a Tensor,
    /// `[out, r]`
    pub b: &'a Tensor,
    /// The factor of the adapter's output (`lora_alpha / r`, say).
    pub scaling: f32,
    /// The first of its `out` columns among the layer's.
    pub column: usize,
    /// Dropout of the adapter's input; none while evaluating.
    pub dropout: Option<Dropout>,
    /// `[out]`: the length that each row of `W + s·B·A` is given ("DoRA"); none for plain LoRA.
    pub magnitude: Option<&'a Tensor>,
}

/// Dropout of an adapter's input: one random stream a sequence, so that a mask depends on the
/// sequence and not on what stands beside it.
#[derive(Clone)]
pub struct Dropout {
    pub p: f64,
    pub streams: Vec<Stream>,
}

/// A frozen linear layer and its adapters.
#[derive(Clone)]
pub struct Linear<'a> {
    /// `[out, in]`
    pub weight: Weight,
    /// `[out]`
    pub bias: Option<&'a Tensor>,
    /// No two of them share a column.
    pub lora: Vec<Lora<'a>>,
}

/// The gradient of one adapter from one sequence.
pub struct LoraGradient {
    /// Which adapter of the layer, and which sequence of the batch.
    pub adapter: usize,
    pub sequence: usize,
    /// `[r, in]`
    pub a: Tensor,
    /// `[out, r]`
    pub b: Tensor,
    /// `[out]`, where the adapter has a magnitude
    pub magnitude: Option<Tensor>,
}

/// What [`Linear::backward`] returns.
pub struct Gradients {
    /// `[tokens, in]`, where it was asked for
    pub x: Option<Tensor>,
    /// For each adapter and sequence, adapters first
    pub lora: Vec<LoraGradient>,
}

impl Linear<'_> {
    /// Whether an adapter scales what the product gives, which then must be alone in its columns.
    fn has_magnitudes(&self) -> bool {
        self.lora.iter().any(|lora| lora.magnitude.is_some())
    }

    /// The columns of the layer's output.
    fn width(&self) -> Result<usize> {
        Ok(self.weight.dims2()?.0)
    }
}
