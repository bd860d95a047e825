//! Fused projections whose columns stand in another order than the engine's.

use candle_core::Tensor;

use crate::error::{Result, expect_shape};
use crate::parallel::for_row_blocks;
use crate::tensor::{from_vec, is_fused, uninit, with_slice};

/// GPT-NeoX's fused queries, keys and values, `[tokens, heads * 3 * head_dim]` with query, key and
/// value of a head side by side, to all the queries, then all the keys, then all the values.
///
/// # Errors
/// If `x` has not these columns.
pub fn split_heads(x: &Tensor, heads: usize, head_dim: usize) -> Result<Tensor> {
    if !is_fused(x) {
        return reference::split_heads(x, heads, head_dim);
    }
    reorder("split_heads", x, heads, head_dim, [heads, 3])
}

/// The inverse of [`split_heads`], and so its gradient.
///
/// # Errors
/// If `x` has not these columns.
pub fn join_heads(x: &Tensor, heads: usize, head_dim: usize) -> Result<Tensor> {
    if !is_fused(x) {
        return reference::join_heads(x, heads, head_dim);
    }
    reorder("join_heads", x, heads, head_dim, [3, heads])
}

/// Transposes each row's `[outer, inner]` pieces of `head_dim` columns.
fn reorder(
    name: &'static str,
    x: &Tensor,
    heads: usize,
    head_dim: usize,
    [outer, inner]: [usize; 2],
) -> Result<Tensor> {
    let (rows, columns) = check(name, x, heads, head_dim)?;
    let mut y = uninit(rows * columns);
    with_slice(x, |x| {
        for_row_blocks(&mut y, columns, |first, y| {
            let x = x[first * columns..].chunks_exact(columns);
            for (x, y) in x.zip(y.chunks_exact_mut(columns)) {
                for (to, y) in y.chunks_exact_mut(head_dim).enumerate() {
                    let from = to % outer * inner + to / outer;
                    y.copy_from_slice(&x[from * head_dim..][..head_dim]);
                }
            }
        });
    })?;
    Ok(from_vec(y, (rows, columns))?)
}

fn check(name: &'static str, x: &Tensor, heads: usize, head_dim: usize) -> Result<(usize, usize)> {
    let (rows, columns) = x.dims2()?;
    let wanted = 3 * heads * head_dim;
    expect_shape(wanted > 0 && columns == wanted, name, "x's columns", wanted, columns)?;
    Ok((rows, columns))
}

/// The same in candle operations, on any device.
pub mod reference {
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
}
