//! The attention of a block's forward: over the batch's own sequences, or whatever a caller puts in its place.

use candle_core::Tensor;
use ft_kernels::Compute;
use ft_kernels::attention::{AttentionSpec, attention};

use crate::arch::Architecture;
use crate::error::Result;
use crate::spans::timed;

/// What attention gives.
pub struct Attended {
    /// `[tokens, heads·head_dim]`
    pub rows: Tensor,
    /// `[tokens, heads]`, the logarithm of each softmax's denominator, where there is a backward.
    pub lse: Option<Tensor>,
}

/// How a forward attends: with a cache of keys and values, or without.
pub trait Attention {
    /// The attention of layer `layer`; `turned`, `[tokens, (heads + 2·kv_heads)·head_dim]`, holds the rotated queries, then
    /// the rotated keys, then the values.
    ///
    /// # Errors
    /// If an operator fails.
    fn attend(&mut self, compute: Compute, layer: usize, spec: &AttentionSpec, turned: &Tensor) -> Result<Attended>;
}

/// Attention within the sequences of a batch, whose keys and values nobody needs later.
pub struct WithoutCache<'a> {
    /// Where each sequence starts, and the number of tokens last.
    pub starts: &'a [usize],
}

impl Attention for WithoutCache<'_> {
    fn attend(&mut self, compute: Compute, _layer: usize, spec: &AttentionSpec, turned: &Tensor) -> Result<Attended> {
        let _timed = timed!("attention");
        let (rows, lse) = attention(compute, turned, spec, self.starts)?;
        Ok(Attended { rows, lse: Some(lse) })
    }
}

/// The attention of a layer of this architecture.
pub fn attention_spec(arch: &Architecture, layer: usize) -> AttentionSpec {
    let divisor = if arch.scales_by_layer { (layer + 1) as f64 } else { 1.0 };
    AttentionSpec {
        num_heads: arch.num_heads,
        num_kv_heads: arch.num_kv_heads,
        head_dim: arch.head_dim,
        scale: (arch.attention_scale / divisor) as f32,
        sliding_window: arch.layers[layer].sliding_window,
        softcap: arch.attention_softcap.map(|cap| cap as f32),
    }
}
