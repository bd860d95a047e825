//! The gradients of a block's trained biases, of which two sites may share one.

use candle_core::Tensor;

use crate::error::Result;
use crate::sink::{Gradient, Sink};
use crate::trainable::TrainableId;
use crate::trained::Biases;

/// Sums of biases' gradients over the sites that use them. Phi's attention and MLP read one norm: its bias has a gradient
/// from each, which are added sequence by sequence, in the order of the backward, before they are handed over as one.
pub(super) struct BiasSums {
    /// For each bias: how many of its sites are still to come, and the sum of those before, one tensor a sequence.
    open: Vec<(TrainableId, usize, Vec<Tensor>)>,
    first_sequence: usize,
}

impl BiasSums {
    /// No site has spoken yet; the batch's first sequence has the number `first_sequence` in its step.
    pub fn new(biases: &Biases, first_sequence: usize) -> Self {
        let products = biases.products.iter().map(|bias| bias.id);
        let mut open: Vec<(TrainableId, usize, Vec<Tensor>)> = Vec::new();
        for id in products.chain(biases.norms.iter().map(|(id, _)| *id)) {
            match open.iter_mut().find(|(known, ..)| *known == id) {
                Some((_, sites, _)) => *sites += 1,
                None => open.push((id, 1, Vec::new())),
            }
        }
        Self { open, first_sequence }
    }

    /// Adds what one site says of a bias, one gradient a sequence; the last of its sites hands the sums to `sink`.
    pub fn add(&mut self, id: TrainableId, parts: Vec<Tensor>, sink: &mut Sink<'_>) -> Result<()> {
        let Some((_, sites, sums)) = self.open.iter_mut().find(|(known, ..)| *known == id) else { return Ok(()) };
        if sums.is_empty() {
            *sums = parts;
        } else {
            for (sum, part) in sums.iter_mut().zip(parts) {
                *sum = (&*sum + part)?;
            }
        }
        *sites = sites.saturating_sub(1);
        if *sites > 0 {
            return Ok(());
        }
        for (i, tensor) in std::mem::take(sums).into_iter().enumerate() {
            sink(Gradient { id, sequence: self.first_sequence + i, tensor })?;
        }
        Ok(())
    }
}
