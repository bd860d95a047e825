//! The factors of rows, on the CPU.

use candle_core::Tensor;

use crate::error::Result;
use crate::parallel::for_row_blocks;
use crate::tensor::with_slice_mut;

/// See [`super::row_scale`]; `x` has `all` columns.
pub fn row_scale(x: Tensor, all: usize, factors: &[f32], columns: usize) -> Result<Tensor> {
    with_slice_mut(&x, |values| {
        for_row_blocks(values, all, |first, values| {
            for (row, factor) in values.chunks_exact_mut(all).zip(&factors[first..]) {
                row[..columns].iter_mut().for_each(|x| *x *= factor);
            }
        });
    })?;
    Ok(x)
}
