//! The same in candle operations, on any device.

use candle_core::Tensor;

use crate::error::Result;

/// See [`super::split_heads`]; candle can differentiate it.
///
/// # Errors
/// If `x` has not these columns.
pub fn split_heads(x: &Tensor, heads: usize, head_dim: usize) -> Result<Tensor> {
    let (rows, columns) = super::check("split_heads", x, heads, head_dim)?;
    let parts = x.reshape((rows, heads, 3, head_dim))?;
    Ok(parts.transpose(1, 2)?.contiguous()?.reshape((rows, columns))?)
}

/// See [`super::join_heads`]; candle can differentiate it.
///
/// # Errors
/// If `x` has not these columns.
pub fn join_heads(x: &Tensor, heads: usize, head_dim: usize) -> Result<Tensor> {
    let (rows, columns) = super::check("join_heads", x, heads, head_dim)?;
    let parts = x.reshape((rows, 3, heads, head_dim))?;
    Ok(parts.transpose(1, 2)?.contiguous()?.reshape((rows, columns))?)
}
