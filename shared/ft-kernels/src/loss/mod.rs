//! Cross-entropy of rows of logits against one target a row.
//!
//! `nll = log(sum_j e^(x_j)) - x_target`; its gradient is `softmax(x) - onehot(target)`. Some
//! families shape their logits first, see [`LogitShape`]; gradients go through that too.

mod kernels;
pub mod reference;
mod shape;

use candle_core::Tensor;
use rayon::prelude::*;

use self::kernels::{Forward, ShapedGradient, WithGradient};
use self::shape::AsTheyAre;
pub use self::shape::{LogitShape, shape_logits};
use crate::error::{Error, Result, expect_shape};
use crate::simd::dispatch_best;
use crate::tensor::{is_fused, with_slice, with_slice_mut};

/// What the loss says about each row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowLosses {
    /// The negative log-likelihood of the row's target, in nats.
    pub nll: Vec<f32>,
    /// Whether the target is the row's (first) largest logit.
    pub correct: Vec<bool>,
}

/// The losses of `logits` `[rows, vocabulary]`, shaped by `shape`, and the gradient of their sum
/// times `scale` for the logits as they were before.
///
/// On the CPU the gradient takes the logits' memory: every other handle on it sees the change.
/// `scale` is 1 over the normaliser of the step.
///
/// # Errors
/// If there is not one target a row, or a target lies outside the vocabulary.
pub fn cross_entropy(logits: Tensor, targets: &[u32], scale: f32, shape: LogitShape) -> Result<(RowLosses, Tensor)> {
    let columns = check(&logits, targets)?;
    if !is_fused(&logits) {
        return reference::cross_entropy(&logits, targets, scale, shape);
    }
    let rows = with_slice_mut(&logits, |logits| {
        logits
            .par_chunks_exact_mut(columns)
            .zip(targets)
            .map(|(row, &target)| {
                let target = target as usize;
                if shape.is_default() {
                    dispatch_best(WithGradient { row, target, scale })
                } else {
                    dispatch_best(ShapedGradient { row, target, scale, shape })
                }
            })
            .collect::<Vec<_>>()
    })?;
    Ok((gather(rows), logits))
}

/// The losses alone.
///
/// # Errors
/// As [`cross_entropy`].
pub fn cross_entropy_forward(logits: &Tensor, targets: &[u32], shape: LogitShape) -> Result<RowLosses> {
    let columns = check(logits, targets)?;
    if !is_fused(logits) {
        return reference::cross_entropy_forward(logits, targets, shape);
    }
    let rows = with_slice(logits, |logits| {
        logits
            .par_chunks_exact(columns)
            .zip(targets)
            .map(|(row, &target)| {
                let target = target as usize;
                if shape.is_default() {
                    dispatch_best(Forward { row, target, shape: AsTheyAre })
                } else {
                    dispatch_best(Forward { row, target, shape })
                }
            })
            .collect::<Vec<_>>()
    })?;
    Ok(gather(rows))
}

fn check(logits: &Tensor, targets: &[u32]) -> Result<usize> {
    const NAME: &str = "cross-entropy";
    let (rows, columns) = logits.dims2()?;
    let found = targets.len();
    expect_shape(found == rows, NAME, "the number of targets", rows, found)?;
    match targets.iter().position(|&t| t as usize >= columns) {
        None => Ok(columns),
        Some(row) => Err(Error::Target { row, target: targets[row], vocabulary: columns }),
    }
}

fn gather(rows: Vec<(f32, bool)>) -> RowLosses {
    let (nll, correct) = rows.into_iter().unzip();
    RowLosses { nll, correct }
}
