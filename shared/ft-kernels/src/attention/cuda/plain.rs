//! The kernels of `kernels/attention.cu`: any type, heads of up to 256 columns, f32 arithmetic.

use super::kernels::{Gradient, Kernels};
use crate::attention::AttentionSpec;
use crate::error::{Error, Result};

/// Threads of a block, and rows of its two tiles, as the kernels have them.
const THREADS: usize = 128;
const QUERIES: usize = 16;
const KEYS: usize = 32;
/// Columns of a head, at most.
const MOST_COLUMNS: usize = 256;

pub(super) fn kernels(spec: &AttentionSpec) -> Result<Kernels> {
    if !(1..=MOST_COLUMNS).contains(&spec.head_dim) {
        return Err(Error::shape("attention", "head_dim", format!("1 to {MOST_COLUMNS}"), spec.head_dim));
    }
    // Tiles of a head's rows, and numbers for each pair of rows.
    let shared = |of_queries: usize, of_keys: usize, weights: usize| {
        let floats = (of_queries * QUERIES + of_keys * KEYS) * (spec.head_dim + 1) + weights * QUERIES * KEYS;
        floats * size_of::<f32>()
    };
    let gradient = |name: &str, heads, weights| Gradient { name: name.into(), heads, shared: shared(2, 2, weights) };
    Ok(Kernels {
        module: "attention",
        threads: THREADS,
        rows: QUERIES,
        any_width: true,
        forward: ("attention".into(), shared(1, 2, 1)),
        backward: vec![
            gradient("attention_queries", spec.num_heads, 1),
            gradient("attention_keys", spec.num_kv_heads, 2),
        ],
    })
}
