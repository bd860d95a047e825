//! The frozen weights as a stream of layers.

mod load;
mod mapped;
mod resident;

pub use mapped::Mapped;
pub use resident::Resident;

use std::sync::Arc;

use candle_core::{DType, Tensor};
use ft_cli::LoadIn;

use crate::error::Result;

/// The weights of one block. Projections of the same input are one matrix. Norms and biases are f32;
/// the matrices have the type that the source was asked for.
#[derive(Debug, Clone)]
pub struct LayerWeights {
    /// `[hidden]`
    pub input_norm: Tensor,
    /// `[(heads + 2·kv_heads)·head_dim, hidden]`: queries, keys, values
    pub qkv: Tensor,
    /// `[(heads + 2·kv_heads)·head_dim]`
    pub qkv_bias: Option<Tensor>,
    /// `[hidden, heads·head_dim]`
    pub o: Tensor,
    /// `[hidden]`
    pub o_bias: Option<Tensor>,
    /// `[hidden]`
    pub post_norm: Tensor,
    /// `[2·intermediate, hidden]`: gate, up
    pub gate_up: Tensor,
    /// `[2·intermediate]`
    pub gate_up_bias: Option<Tensor>,
    /// `[hidden, intermediate]`
    pub down: Tensor,
    /// `[hidden]`
    pub down_bias: Option<Tensor>,
}

/// A read-only stream of layers: whoever computes asks for layer `i` and gets it.
pub trait LayerSource: Send + Sync {
    /// The weights of block `i`.
    ///
    /// # Errors
    /// If they cannot be had.
    fn layer(&self, i: usize) -> Result<Arc<LayerWeights>>;

    /// The embedding, `[vocabulary, hidden]`.
    ///
    /// # Errors
    /// If it cannot be had.
    fn embedding(&self) -> Result<Tensor>;

    /// The head, `[vocabulary, hidden]`: the embedding itself where they are tied.
    ///
    /// # Errors
    /// If it cannot be had.
    fn head(&self) -> Result<Tensor>;

    /// The final norm's weight, `[hidden]`, f32.
    ///
    /// # Errors
    /// If it cannot be had.
    fn final_norm(&self) -> Result<Tensor>;
}

/// candle's name of a type.
pub fn dtype(load_in: LoadIn) -> DType {
    match load_in {
        LoadIn::F32 => DType::F32,
        LoadIn::Bf16 => DType::BF16,
        LoadIn::F16 => DType::F16,
    }
}

#[cfg(test)]
mod tests;
