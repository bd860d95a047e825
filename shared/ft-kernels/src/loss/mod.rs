//! Cross-entropy of rows of logits against one target a row.
//!
//! `nll = log(sum_j e^(x_j)) - x_target`; its gradient is `softmax(x) - onehot(target)`. Some
//! families shape their logits first, see [`LogitShape`]; gradients go through that too.

mod cpu;
mod cuda;
mod operator;
pub mod reference;

pub use operator::{cross_entropy, cross_entropy_forward, shape_logits};

use candle_core::Tensor;

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
