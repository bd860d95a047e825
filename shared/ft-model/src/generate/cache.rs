//! The keys and values of a sequence.

use candle_core::{DType, Result, Tensor};
use ft_kernels::attention::{AttentionSpec, KeyValue, attention_decode, attention_decode_placed};
use ft_kernels::backend::{Compute, is_host};
use ft_kernels::tensor::with_slice;

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
enum Layer {
    Host { keys: Vec<f32>, values: Vec<f32> },
    Placed { keys: Tensor, values: Tensor },
}

impl Cache {
    /// An empty cache of all layers with room for `tokens` tokens; it grows with more.
    pub(super) fn new(arch: &Architecture, tokens: usize) -> Self {
        let columns = (arch.query_columns(), arch.key_columns());
        let room = || Vec::with_capacity(tokens * columns.1);
        let layers = (0..arch.num_layers).map(|_| Layer::Host { keys: room(), values: room() });
        Self { tokens: 0, columns, layers: layers.collect() }
    }

    /// How many tokens it holds.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Adds rows of rotated queries, keys and values, `[tokens, (heads + 2·kv_heads)·head_dim]`, to a layer, where they
    /// are: on the host, or on a device.
    pub(super) fn extend(&mut self, layer: usize, qkv: &Tensor) -> Result<()> {
        let (q, kv) = self.columns;
        let layer = &mut self.layers[layer];
        if is_host(qkv.device()) {
            let Layer::Host { keys, values } = layer else {
                candle_core::bail!("a cache on a device was handed rows of the host");
            };
            return with_slice(&qkv.to_dtype(DType::F32)?.contiguous()?, |qkv| {
                for row in qkv.chunks_exact(q + 2 * kv) {
                    keys.extend_from_slice(&row[q..q + kv]);
                    values.extend_from_slice(&row[q + kv..]);
                }
            });
        }
        let (mut keys, mut values) = (qkv.narrow(1, q, kv)?, qkv.narrow(1, q + kv, kv)?);
        if let Layer::Placed { keys: old_keys, values: old_values } = layer {
            (keys, values) = (Tensor::cat(&[&*old_keys, &keys], 0)?, Tensor::cat(&[&*old_values, &values], 0)?);
        }
        *layer = Layer::Placed { keys: keys.contiguous()?, values: values.contiguous()? };
        Ok(())
    }

    /// Forgets all but the first `tokens` tokens.
    pub(super) fn truncate(&mut self, tokens: usize) -> Result<()> {
        if tokens >= self.tokens {
            return Ok(());
        }
        let length = tokens * self.columns.1;
        for layer in &mut self.layers {
            match layer {
                Layer::Host { keys, values } => {
                    keys.truncate(length);
                    values.truncate(length);
                }
                Layer::Placed { keys, values } => {
                    *keys = keys.narrow(0, 0, tokens)?.contiguous()?;
                    *values = values.narrow(0, 0, tokens)?.contiguous()?;
                }
            }
        }
        self.tokens = tokens;
        Ok(())
    }

    /// Counts `tokens` tokens that every layer has been given.
    pub(super) fn advance(&mut self, tokens: usize) {
        self.tokens += tokens;
    }
}

/// Attention of one rotated query a sequence, `[sequences, heads·head_dim]`, to the tokens that its cache has of a layer.
pub(super) fn attend(
    compute: Compute,
    queries: &Tensor,
    caches: &[&mut Cache],
    layer: usize,
    spec: &AttentionSpec,
) -> ft_kernels::Result<Tensor> {
    let (mut host, mut placed) = (Vec::new(), Vec::new());
    for cache in caches {
        match &cache.layers[layer] {
            Layer::Host { keys, values } => host.push(KeyValue { keys, values }),
            Layer::Placed { keys, values } => placed.push((keys.clone(), values.clone())),
        }
    }
    if placed.is_empty() {
        attention_decode(compute, queries, &host, spec)
    } else {
        attention_decode_placed(compute, queries, &placed, spec)
    }
}

/// Attention of the rotated queries of the newest tokens of one sequence, `[tokens, heads·head_dim]`, each to the tokens
/// up to its own, which `cache` has of a layer already.
pub(super) fn attend_along(
    compute: Compute,
    queries: &Tensor,
    cache: &Cache,
    layer: usize,
    spec: &AttentionSpec,
) -> ft_kernels::Result<Tensor> {
    let (before, columns) = (cache.tokens, cache.columns.1);
    let seen = (1..=queries.dim(0)?).map(|new| before + new);
    match &cache.layers[layer] {
        Layer::Host { keys, values } => {
            let some = |rows: usize| KeyValue { keys: &keys[..rows * columns], values: &values[..rows * columns] };
            attention_decode(compute, queries, &seen.map(some).collect::<Vec<_>>(), spec)
        }
        Layer::Placed { keys, values } => {
            let some = |rows: usize| Ok((keys.narrow(0, 0, rows)?, values.narrow(0, 0, rows)?));
            attention_decode_placed(compute, queries, &seen.map(some).collect::<Result<Vec<_>>>()?, spec)
        }
    }
}
