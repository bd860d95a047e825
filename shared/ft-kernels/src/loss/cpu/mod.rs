//! The loss over slices, on the CPU.

mod kernels;
mod shape;

use candle_core::Tensor;
use rayon::prelude::*;

use self::kernels::{Forward, ShapedGradient, WithGradient};
use self::shape::{AsTheyAre, InPlace};
use super::{LogitShape, RowLosses};
use crate::error::Result;
use crate::parallel::for_row_blocks;
use crate::simd::{Isa, dispatch};
use crate::tensor::{with_slice, with_slice_mut};

/// See [`super::cross_entropy`]; the logits have `columns` columns.
pub fn cross_entropy(
    isa: Isa,
    logits: Tensor,
    columns: usize,
    targets: &[u32],
    scale: f32,
    shape: LogitShape,
) -> Result<(RowLosses, Tensor)> {
    let rows = with_slice_mut(&logits, |logits| {
        logits
            .par_chunks_exact_mut(columns)
            .zip(targets)
            .map(|(row, &target)| {
                let target = target as usize;
                if shape.is_default() {
                    dispatch(isa, WithGradient { row, target, scale })
                } else {
                    dispatch(isa, ShapedGradient { row, target, scale, shape })
                }
            })
            .collect::<Vec<_>>()
    })?;
    Ok((gather(rows), logits))
}

/// See [`super::cross_entropy_forward`]; the logits have `columns` columns.
pub fn cross_entropy_forward(
    isa: Isa,
    logits: &Tensor,
    columns: usize,
    targets: &[u32],
    shape: LogitShape,
) -> Result<RowLosses> {
    let rows = with_slice(logits, |logits| {
        logits
            .par_chunks_exact(columns)
            .zip(targets)
            .map(|(row, &target)| {
                let target = target as usize;
                if shape.is_default() {
                    dispatch(isa, Forward { row, target, shape: AsTheyAre })
                } else {
                    dispatch(isa, Forward { row, target, shape })
                }
            })
            .collect::<Vec<_>>()
    })?;
    Ok(gather(rows))
}

/// See [`super::shape_logits`].
pub fn shape_logits(isa: Isa, logits: Tensor, shape: LogitShape) -> Result<Tensor> {
    const ROW: usize = 1024;
    with_slice_mut(&logits, |logits| {
        for_row_blocks(logits, ROW, |_, values| dispatch(isa, InPlace { values, shape }));
    })?;
    Ok(logits)
}

fn gather(rows: Vec<(f32, bool)>) -> RowLosses {
    let (nll, correct) = rows.into_iter().unzip();
    RowLosses { nll, correct }
}
