//! The keys and values of a sequence.

use ft_kernels::attention::KeyValue;

use crate::arch::Architecture;

/// What later tokens of one sequence attend to, layer by layer.
#[derive(Debug, Clone)]
pub struct Cache {
    tokens: usize,
    /// Columns of queries, and of keys.
    columns: (usize, usize),
    layers: Vec<Layer>,
}

/// Rotated keys and values, each `[tokens, kv_heads·head_dim]`.
#[derive(Debug, Clone)]
struct Layer {
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Cache {
    /// An empty cache of all layers with room for `tokens` tokens.
    pub(super) fn new(arch: &Architecture, tokens: usize) -> Self {
        let columns = (arch.query_columns(), arch.key_columns());
        let room = || Vec::with_capacity(tokens * columns.1);
        let layers = (0..arch.num_layers).map(|_| Layer { keys: room(), values: room() });
        Self { tokens: 0, columns, layers: layers.collect() }
    }

    /// How many tokens it holds.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Adds rows of rotated queries, keys and values, `[tokens, (heads + 2·kv_heads)·head_dim]`, to a layer.
    pub(super) fn extend(&mut self, layer: usize, qkv: &[f32]) {
        let (q, kv) = self.columns;
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
