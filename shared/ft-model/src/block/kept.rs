//! What a block's backward needs of its forward.

use candle_core::Tensor;
use ft_kernels::experts::{Routing, Share};

use crate::arch::Architecture;

/// What backward needs of a forward.
pub struct Kept {
    /// `[tokens, (heads + 2·kv_heads)·head_dim]`: turned, or, where heads are normalised first, as the product left it
    pub(super) qkv: Tensor,
    /// `[tokens, heads·head_dim]`
    pub(super) attended: Tensor,
    /// `[tokens, heads]`, the logarithm of each softmax's denominator; none where attention had a cache
    pub(super) lse: Option<Tensor>,
    /// `[tokens, hidden]`, the attention's output before its norm, where it has one
    pub(super) projected: Option<Tensor>,
    /// `[tokens, hidden]`, between attention and MLP
    pub(super) middle: Tensor,
    pub(super) mlp: KeptMlp,
    /// `[tokens, hidden]`, the MLP's output before its norm, where it has one
    pub(super) down: Option<Tensor>,
}

/// What backward needs of the MLP's forward.
pub(super) enum KeptMlp {
    /// `[tokens, 2·intermediate]`, or half of that without a gate
    Plain(Tensor),
    Mixture(Routed),
}

/// Where tokens went, and what backward needs of their experts.
pub(super) struct Routed {
    /// The router's, `[tokens, experts]`.
    pub logits: Tensor,
    pub routing: Routing,
    /// The routing's weights on the host.
    pub weights: Vec<f32>,
    pub shares: Vec<Share>,
    /// Of each expert that has tokens its first product, `[its tokens, 2·intermediate]`.
    pub gate_up: Vec<Option<Tensor>>,
}

impl Routed {
    /// The experts that have tokens.
    pub fn with_tokens(&self) -> impl Iterator<Item = (usize, (&Share, &Tensor))> {
        let all = self.shares.iter().zip(&self.gate_up).enumerate();
        all.filter_map(|(e, (share, gate_up))| Some((e, (share, gate_up.as_ref()?))))
    }
}

/// The number of bytes that [`Kept`] takes for one token, in the layer where it takes most.
pub fn kept_bytes_per_token(arch: &Architecture) -> usize {
    let names = arch.names();
    let norms = usize::from(names.attention_norm.is_some()) + usize::from(names.output_norm.is_some());
    let mlp = (0..arch.num_layers).map(|layer| mlp_columns(arch, layer)).max().unwrap_or(0);
    let floats = arch.qkv_columns() + arch.query_columns() + arch.num_heads + mlp;
    (floats + (1 + norms) * arch.hidden_size) * size_of::<f32>()
}

/// The numbers that [`KeptMlp`] holds for one token in a layer.
fn mlp_columns(arch: &Architecture, layer: usize) -> usize {
    match arch.experts_of(layer) {
        None => arch.gate_up_columns(arch.intermediate_size),
        // The experts' first products, the router's logits, and the choice with its weights.
        Some(e) => e.per_token * (arch.gate_up_columns(e.intermediate_size) + 4) + e.count,
    }
}
