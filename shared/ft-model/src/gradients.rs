//! The gradients of an optimizer step: a balanced sum over its sequences.

use candle_core::Tensor;
use ft_dist::TreeSum;
use ft_kernels::tensor::{is_fused, with_slice, with_slice_mut};

use crate::block::Found;
use crate::error::Result;
use crate::lora::placed::to_host;

/// Sums gradients sequence by sequence, tensor by tensor, each as one balanced tree over the sequence's number
/// in the step. Sequences must come in rising order for each tensor.
#[derive(Debug)]
pub struct Gradients {
    tensors: Vec<TreeSum<Tensor>>,
}

impl Gradients {
    /// No gradient yet for any of `trainable` tensors; `first` is the number of the first sequence.
    pub fn new(trainable: usize, first: usize) -> Self {
        Self { tensors: (0..trainable).map(|_| TreeSum::starting_at(first)).collect() }
    }

    /// Adds the next sequence's gradient of a tensor.
    ///
    /// # Errors
    /// If the addition fails.
    pub fn push(&mut self, found: Found) -> Result<()> {
        self.tensors[found.trainable].push(found.gradient, add)
    }

    /// The sums, one a trained tensor, on the host.
    ///
    /// # Errors
    /// If an addition fails, or a tensor got no gradient.
    pub fn finish(self) -> Result<Vec<Tensor>> {
        let missing = || candle_core::Error::Msg("a trained tensor got no gradient".into());
        let sums = self.tensors.into_iter().map(|tree| Ok(tree.finish(add)?.ok_or_else(missing)?));
        to_host(sums.collect::<Result<_>>()?)
    }
}

/// `left + right`, in the memory of `left` where that is on the CPU: nobody else holds it.
#[allow(clippy::needless_pass_by_value, reason = "the tree hands both over")]
fn add(left: Tensor, right: Tensor) -> Result<Tensor> {
    if !is_fused(&left) || !is_fused(&right) {
        return Ok((left + right)?);
    }
    with_slice_mut(&left, |left| with_slice(&right, |right| left.iter_mut().zip(right).for_each(|(l, r)| *l += r)))??;
    Ok(left)
}
