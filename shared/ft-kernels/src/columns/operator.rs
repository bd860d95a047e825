//! The operator by its contract: whichever version the backend has.

use candle_core::Tensor;

use super::{cpu, reference};
use crate::backend::{Backend, Compute};
use crate::error::Result;

/// GPT-NeoX's fused queries, keys and values, `[tokens, heads * 3 * head_dim]` with query, key and
/// value of a head side by side, to all the queries, then all the keys, then all the values.
///
/// # Errors
/// If `x` has not these columns.
pub fn split_heads(compute: Compute, x: &Tensor, heads: usize, head_dim: usize) -> Result<Tensor> {
    match compute.backend {
        Backend::Cpu => cpu::split_heads(x, heads, head_dim),
        Backend::Reference | Backend::Cuda => reference::split_heads(x, heads, head_dim),
    }
}

/// The inverse of [`split_heads`], and so its gradient.
///
/// # Errors
/// If `x` has not these columns.
pub fn join_heads(compute: Compute, x: &Tensor, heads: usize, head_dim: usize) -> Result<Tensor> {
    match compute.backend {
        Backend::Cpu => cpu::join_heads(x, heads, head_dim),
        Backend::Reference | Backend::Cuda => reference::join_heads(x, heads, head_dim),
    }
}
