//! The kernels of `kernels/attention_mma.cu`: bf16 and f16, heads of some widths.

use candle_core::DType;

use super::kernels::{Gradient, Kernels};
use crate::attention::AttentionSpec;

/// What a head's columns may be.
const WIDTHS: [usize; 6] = [64, 80, 96, 128, 192, 256];
/// Threads of a block, and rows of its tile, as the kernels have them.
const THREADS: usize = 128;
const ROWS: usize = 64;
/// Elements between a row's end and the next one in shared memory.
const PADDING: usize = 8;

/// None where they are not made for it.
pub(super) fn kernels(dtype: DType, spec: &AttentionSpec) -> Option<Kernels> {
    let d = spec.head_dim;
    if !WIDTHS.contains(&d) || !matches!(dtype, DType::BF16 | DType::F16) {
        return None;
    }
    // Rows of the other side's tiles, as each kernel has them.
    let (in_forward, of_queries, of_keys) = match d {
        64 => (64, 64, 32),
        80 | 96 => (64, 64, 16),
        128 => (64, 32, 16),
        _ => (32, 16, 16),
    };
    let tiles = |own: usize, other: usize| (own * ROWS + 2 * other) * (d + PADDING) * dtype.size_in_bytes();
    let gradient = |name: &str, heads, shared| Gradient { name: format!("attention_{name}_{d}"), heads, shared };
    let queries = gradient("queries", spec.num_heads, tiles(2, of_queries));
    // A query's log-sum-exp and its delta stand beside its rows.
    let pairs = |name| gradient(name, spec.num_kv_heads, tiles(2, of_keys) + 2 * of_keys * size_of::<f32>());
    let backward = if d > 128 { vec![queries, pairs("keys"), pairs("values")] } else { vec![queries, pairs("pairs")] };
    let forward = (format!("attention_{d}"), tiles(1, in_forward));
    Some(Kernels { module: "attention_mma", threads: THREADS, rows: ROWS, any_width: false, forward, backward })
}
