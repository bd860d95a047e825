//! The frozen weights of a block, and what a model has beside its blocks.

use candle_core::Tensor;
use ft_kernels::activation::Activation;
use ft_kernels::linear::Weight;

use crate::error::Result;
use crate::projection::Site;

/// The weights of one block, with matrices of some kind: what products take, or what becomes that.
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
    pub qk_norm: Option<[NormWeights; 2]>,
    /// The MLP's activation with this layer's own numbers, where it has some.
    pub activation: Option<Activation>,
    /// `[(heads + 2·kv_heads)·head_dim, hidden]`: queries, keys, values
    pub qkv: LinearWeights<M>,
    /// `[hidden, heads·head_dim]`
    pub o: LinearWeights<M>,
    /// `[2·intermediate, hidden]`: gate, up; `[intermediate, hidden]` in an MLP without a gate
    pub gate_up: LinearWeights<M>,
    /// `[hidden, intermediate]`
    pub down: LinearWeights<M>,
}

/// The weights of one block to compute with: numbers of the type that the source was asked for, or what products expand
/// a few rows at a time.
pub type LayerWeights = Layer<Weight>;

/// A product's matrix `[out, in]`, and its bias `[out]`.
#[derive(Debug, Clone)]
pub struct LinearWeights<M> {
    pub weight: M,
    pub bias: Option<Tensor>,
}

/// A norm's weight `[hidden]`, which is what rows are multiplied by, and its bias `[hidden]`.
#[derive(Debug, Clone)]
pub struct NormWeights {
    pub weight: Tensor,
    pub bias: Option<Tensor>,
}

/// What a model has beside its blocks and its vocabulary.
#[derive(Debug, Clone)]
pub struct Ends {
    /// `[positions, hidden]`, where positions are learned
    pub positions: Option<Tensor>,
    /// The norm after the last block.
    pub final_norm: NormWeights,
    /// `[vocabulary]`
    pub head_bias: Option<Tensor>,
}

/// The two matrices of a model's vocabulary.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    /// `[vocabulary, hidden]`
    pub embedding: Weight,
    /// `[vocabulary, hidden]`: the embedding itself where they are tied
    pub head: Weight,
}

/// The bytes of a tensor's elements.
pub(crate) fn tensor_bytes(tensor: &Tensor) -> u64 {
    (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64
}

impl Ends {
    /// The bytes that they take.
    pub fn bytes(&self) -> u64 {
        let rest = [self.positions.as_ref(), self.head_bias.as_ref()];
        self.final_norm.bytes() + rest.into_iter().flatten().map(tensor_bytes).sum::<u64>()
    }
}

impl Vocabulary {
    /// The bytes that they take; tied ones are there once.
    pub fn bytes(&self) -> u64 {
        self.embedding.bytes() + if self.head.is(&self.embedding) { 0 } else { self.head.bytes() }
    }
}

impl NormWeights {
    /// The bytes that they take.
    pub fn bytes(&self) -> u64 {
        tensor_bytes(&self.weight) + self.bias.as_ref().map_or(0, tensor_bytes)
    }
}

impl<M> Layer<M> {
    /// The product of a site.
    pub fn product(&self, site: Site) -> &LinearWeights<M> {
        match site {
            Site::Qkv => &self.qkv,
            Site::O => &self.o,
            Site::GateUp => &self.gate_up,
            Site::Down => &self.down,
        }
    }

    /// The bytes of what is no matrix: norms and biases.
    pub fn small_bytes(&self) -> u64 {
        let norms = [&self.input_norm, &self.attention_norm, &self.mlp_norm, &self.output_norm];
        let norms = norms.into_iter().flatten().map(NormWeights::bytes).sum::<u64>();
        let heads = self.qk_norm.iter().flatten().map(NormWeights::bytes).sum::<u64>();
        let biases = Site::ALL.iter().filter_map(|&site| self.product(site).bias.as_ref()).map(tensor_bytes);
        norms + heads + biases.sum::<u64>()
    }

    /// The same block with each matrix turned into another kind.
    ///
    /// # Errors
    /// What `turn` reports.
    pub fn map<N>(&self, mut turn: impl FnMut(&M) -> Result<N>) -> Result<Layer<N>> {
        let mut product = |of: &LinearWeights<M>| {
            Ok::<_, crate::Error>(LinearWeights { weight: turn(&of.weight)?, bias: of.bias.clone() })
        };
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
            activation: self.activation,
        })
    }
}
