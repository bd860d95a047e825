//! The operator by its contract: whichever version the backend has.

use candle_core::Tensor;

use super::{LogitShape, RowLosses, check, cpu, cuda, reference};
use crate::backend::{Backend, Compute};
use crate::error::Result;

/// The losses of `logits` `[rows, vocabulary]`, shaped by `shape`, and the gradient of their sum
/// times `scale` for the logits as they were before.
///
/// On the CPU the gradient takes the logits' memory: every other handle on it sees the change.
/// `scale` is 1 over the normaliser of the step.
///
/// # Errors
/// If there is not one target a row, or a target lies outside the vocabulary.
pub fn cross_entropy(
    compute: Compute,
    logits: Tensor,
    targets: &[u32],
    scale: f32,
    shape: LogitShape,
) -> Result<(RowLosses, Tensor)> {
    let columns = check(&logits, targets)?;
    match compute.backend {
        Backend::Cpu => cpu::cross_entropy(compute.isa, logits, columns, targets, scale, shape),
        Backend::Reference => reference::cross_entropy(&logits, targets, scale, shape),
        Backend::Cuda => cuda::cross_entropy(&logits, targets, scale, shape),
    }
}

/// The losses alone.
///
/// # Errors
/// As [`cross_entropy`].
pub fn cross_entropy_forward(
    compute: Compute,
    logits: &Tensor,
    targets: &[u32],
    shape: LogitShape,
) -> Result<RowLosses> {
    let columns = check(logits, targets)?;
    match compute.backend {
        Backend::Cpu => cpu::cross_entropy_forward(compute.isa, logits, columns, targets, shape),
        Backend::Reference => reference::cross_entropy_forward(logits, targets, shape),
        Backend::Cuda => cuda::cross_entropy_forward(logits, targets, shape),
    }
}

/// The logits as the shape makes them, for generation.
///
/// On the CPU this happens in the logits' own memory: every other handle on it sees the change.
///
/// # Errors
/// If candle refuses an operation.
pub fn shape_logits(compute: Compute, logits: Tensor, shape: LogitShape) -> Result<Tensor> {
    if shape.is_default() {
        return Ok(logits);
    }
    match compute.backend {
        Backend::Cpu => cpu::shape_logits(compute.isa, logits, shape),
        Backend::Reference => reference::shape_logits(&logits, shape),
        Backend::Cuda => cuda::shape_logits(&logits, shape),
    }
}
