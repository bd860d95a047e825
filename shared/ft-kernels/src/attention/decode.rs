use candle_core::Tensor;

use super::{AttentionSpec, reference};
use crate::error::Result;

/// The keys and values of one sequence so far, each `[tokens, kv_heads * head_dim]`, row by row.
#[derive(Clone, Copy, Debug)]
pub struct KeyValue<'a> {
    /// Rotated keys.
    pub keys: &'a [f32],
    /// Values.
    pub values: &'a [f32],
}

impl KeyValue<'_> {
    /// The number of tokens.
    pub fn len(&self, spec: &AttentionSpec) -> usize {
        self.keys.len() / spec.key_columns()
    }
}

/// temp
pub fn attention_decode(q: &Tensor, caches: &[KeyValue<'_>], spec: &AttentionSpec) -> Result<Tensor> {
    reference::attention_decode(q, caches, spec)
}
