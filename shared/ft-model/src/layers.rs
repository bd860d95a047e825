//! The frozen weights as a stream of layers.

mod load;
mod mapped;
mod placed;
mod quantised;
mod random;
mod resident;
mod without;

pub use mapped::Mapped;
pub use placed::Placed;
pub use quantised::{Bits, Quantised};
pub use resident::Resident;
pub use without::Without;

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use ft_cli::LoadIn;

use crate::error::Result;
use crate::projection::Site;

/// The weights of one block, with matrices of some kind: tensors to compute with, or what expands to them.
/// Projections of the same input are one matrix. Norms and biases are f32.
#[derive(Debug, Clone)]
pub struct Layer<M> {
    /// The norm of the attention's input.
    pub input_norm: Option<NormWeights>,
    /// The norm of the attention's output.
    pub attention_norm: Option<NormWeights>,
    /// The norm of the MLP's input.
    pub mlp_norm: Option<NormWeights>,
    /// The norm of the MLP's output.
    pub output_norm: Option<NormWeights>,
    /// The norms of queries and keys, each `[head_dim]`, or as wide as all heads.
    pub qk_norm: Option<[Tensor; 2]>,
    /// `[(heads + 2·kv_heads)·head_dim, hidden]`: queries, keys, values
    pub qkv: Product<M>,
    /// `[hidden, heads·head_dim]`
    pub o: Product<M>,
    /// `[2·intermediate, hidden]`: gate, up; `[intermediate, hidden]` in an MLP without a gate
    pub gate_up: Product<M>,
    /// `[hidden, intermediate]`
    pub down: Product<M>,
}

/// The weights of one block to compute with: the matrices have the type that the source was asked for.
pub type LayerWeights = Layer<Tensor>;

/// A product's matrix `[out, in]`, and its bias `[out]`.
#[derive(Debug, Clone)]
pub struct Product<M> {
    pub weight: M,
    pub bias: Option<Tensor>,
}

/// A norm's weight `[hidden]`, which is what rows are multiplied by, and its bias `[hidden]`.
#[derive(Debug, Clone)]
pub struct NormWeights {
    pub weight: Tensor,
    pub bias: Option<Tensor>,
}

/// What a model has beside its blocks.
#[derive(Debug, Clone)]
pub struct Ends {
    /// `[vocabulary, hidden]`
    pub embedding: Tensor,
    /// `[positions, hidden]`, where positions are learned
    pub positions: Option<Tensor>,
    /// The norm after the last block.
    pub final_norm: NormWeights,
    /// `[vocabulary, hidden]`: the embedding itself where they are tied
    pub head: Tensor,
    /// `[vocabulary]`
    pub head_bias: Option<Tensor>,
}

/// A read-only stream of layers: whoever computes asks for layer `i` and gets it.
pub trait LayerSource: Send + Sync {
    /// The weights of block `i`.
    ///
    /// # Errors
    /// If they cannot be had.
    fn layer(&self, i: usize) -> Result<Arc<LayerWeights>>;

    /// What stands before and after the blocks.
    fn ends(&self) -> &Ends;

    /// Where the weights are, and so where the model is computed.
    fn device(&self) -> &Device {
        self.ends().embedding.device()
    }
}

impl<M> Layer<M> {
    /// The product of a site.
    pub fn product(&self, site: Site) -> &Product<M> {
        match site {
            Site::Qkv => &self.qkv,
            Site::O => &self.o,
            Site::GateUp => &self.gate_up,
            Site::Down => &self.down,
        }
    }

    /// The same block with each matrix turned into another kind.
    ///
    /// # Errors
    /// What `turn` reports.
    pub fn map<N>(&self, mut turn: impl FnMut(&M) -> Result<N>) -> Result<Layer<N>> {
        let mut product =
            |of: &Product<M>| Ok::<_, crate::Error>(Product { weight: turn(&of.weight)?, bias: of.bias.clone() });
        Ok(Layer {
            qkv: product(&self.qkv)?,
            o: product(&self.o)?,
            gate_up: product(&self.gate_up)?,
            down: product(&self.down)?,
            input_norm: self.input_norm.clone(),
            attention_norm: self.attention_norm.clone(),
            mlp_norm: self.mlp_norm.clone(),
            output_norm: self.output_norm.clone(),
            qk_norm: self.qk_norm.clone(),
        })
    }
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
