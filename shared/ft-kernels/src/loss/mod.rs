//! Cross-entropy of rows of logits against one target a row.
//!
//! `nll = log(sum_j e^(x_j)) - x_target`; its gradient is `softmax(x) - onehot(target)`. Some
//! families shape their logits first, see [`LogitShape`]; gradients go through that too.

mod cpu;
pub mod reference;

use candle_core::Tensor;

use crate::backend::{Backend, Compute};
use crate::error::{Error, Result, expect_shape};

/// What some families do to their logits: a factor (Granite, Cohere), a soft bound (Gemma 2):
/// `l = scale * x`, and then `cap * tanh(l / cap)` (Gemma Team 2024, "Gemma 2", section 2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogitShape {
    /// Multiplies the logits.
    pub scale: f32,
    /// The bound that they are squeezed into afterwards, if any.
    pub softcap: Option<f32>,
}

impl Default for LogitShape {
    fn default() -> Self {
        Self { scale: 1.0, softcap: None }
    }
}

impl LogitShape {
    /// Whether it leaves the logits as they are.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

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
        Backend::Reference | Backend::Cuda => reference::cross_entropy(&logits, targets, scale, shape),
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
        Backend::Reference | Backend::Cuda => reference::cross_entropy_forward(logits, targets, shape),
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
        Backend::Reference | Backend::Cuda => reference::shape_logits(&logits, shape),
    }
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
