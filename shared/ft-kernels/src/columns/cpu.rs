//! Copies of columns on the CPU.

use candle_core::Tensor;

use super::check;
use crate::error::Result;
use crate::parallel::for_row_blocks;
use crate::tensor::{from_vec, unwritten, with_slice};

/// See [`super::split_heads`].
pub fn split_heads(x: &Tensor, heads: usize, head_dim: usize) -> Result<Tensor> {
    reorder("split_heads", x, heads, head_dim, [heads, 3])
}

/// See [`super::join_heads`].
pub fn join_heads(x: &Tensor, heads: usize, head_dim: usize) -> Result<Tensor> {
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
    // SAFETY: every row is in one of the blocks below, and the copied heads are all of its columns.
    let mut y = unsafe { unwritten(rows * columns) };
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
