//! Fused projections whose columns stand in another order than the engine's.

mod cpu;
pub mod reference;

use candle_core::Tensor;

use crate::backend::{Backend, Compute};
use crate::error::{Result, expect_shape};

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

fn check(name: &'static str, x: &Tensor, heads: usize, head_dim: usize) -> Result<(usize, usize)> {
    let (rows, columns) = x.dims2()?;
    let wanted = 3 * heads * head_dim;
    expect_shape(wanted > 0 && columns == wanted, name, "x's columns", wanted, columns)?;
    Ok((rows, columns))
}
