//! What a backward hands its gradients to.

use candle_core::Tensor;

use crate::error::Result;
use crate::trainable::TrainableId;

/// The gradient of one trained tensor from one sequence.
pub struct Gradient {
    pub id: TrainableId,
    /// The sequence's number in the optimizer step.
    pub sequence: usize,
    /// In the shape of the trained tensor.
    pub tensor: Tensor,
}

/// Takes gradients: of each trained tensor one from each sequence, in the order of the sequences.
pub type Sink<'s> = dyn FnMut(Gradient) -> Result<()> + 's;
