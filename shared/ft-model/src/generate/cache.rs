//! The keys and values of a sequence.

use ft_kernels::attention::{AttentionSpec, KeyValue};

/// What later tokens of one sequence attend to, layer by layer.
#[derive(Debug, Clone)]
pub struct Cache {
    tokens: usize,
    layers: Vec<Layer>,
}

/// Rotated keys and values, each `[tokens, kv_heads·head_dim]`.
#[derive(Debug, Clone)]
struct Layer {
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Cache {
    /// An empty cache of `layers` layers with room for `tokens` tokens.
    pub(super) fn new(layers: usize, spec: &AttentionSpec, tokens: usize) -> Self {
        let room = || Vec::with_capacity(tokens * spec.key_columns());
        Self { tokens: 0, layers: (0..layers).map(|_| Layer { keys: room(), values: room() }).collect() }
    }

    /// How many tokens it holds.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Adds rows of rotated queries, keys and values, `[tokens, (heads + 2·kv_heads)·head_dim]`, to a layer.
    pub(super) fn extend(&mut self, layer: usize, qkv: &[f32], spec: &AttentionSpec) {
        let (q, kv) = (spec.query_columns(), spec.key_columns());
        let layer = &mut self.layers[layer];
        for row in qkv.chunks_exact(q + 2 * kv) {
            layer.keys.extend_from_slice(&row[q..q + kv]);
            layer.values.extend_from_slice(&row[q + kv..]);
        }
    }

    /// Counts `tokens` tokens that every layer has been given.
    pub(super) fn advance(&mut self, tokens: usize) {
        self.tokens += tokens;
    }

    pub(super) fn layer(&self, layer: usize) -> KeyValue<'_> {
        let layer = &self.layers[layer];
        KeyValue { keys: &layer.keys, values: &layer.values }
    }
}
