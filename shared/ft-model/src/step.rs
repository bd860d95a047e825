//! One optimizer step over its micro-batches: losses and summed gradients.

use candle_core::Tensor;
use ft_dist::Communicator;

use crate::arch::Architecture;
use crate::batch::{Batch, Sequence};
use crate::block::kept_bytes_per_token;
use crate::decoder::{Decoder, DropoutKey, NeftuneKey, StepOptions};
use crate::error::{Error, Result};
use crate::gradients::Gradients;
use crate::head::SequenceLoss;
use crate::layers::LayerSource;
use crate::lora::Adapter;

/// What a step trains on, and how.
pub struct Step<'a> {
    pub arch: &'a Architecture,
    pub source: &'a dyn LayerSource,
    /// The other ranks that work on the same step.
    pub ranks: &'a dyn Communicator,
    /// Bytes that may be kept between a micro-batch's forward and backward, beside each layer's input.
    pub activation_memory: u64,
    pub dropout: Option<DropoutKey>,
    pub neftune: Option<NeftuneKey>,
}

/// What a step found.
pub struct StepResult {
    /// The sum of all the labels' losses over their number, in nats.
    pub loss: f64,
    pub labels: usize,
    /// Labels that were the likeliest token.
    pub correct: usize,
    /// One a trained tensor, in the order of [`Adapter::trainable`].
    pub gradients: Vec<Tensor>,
}

/// More tokens than this in one piece make no product of a CPU faster.
const LONGEST_PIECE: usize = 512;
/// A device waits for each of its many small operations to be started, so it wants long ones.
const LONGEST_PIECE_OF_A_DEVICE: usize = 16 * 1024;

impl Step<'_> {
    /// Cuts the sequences of a micro-batch into pieces whose activations fit the budget, of at least one
    /// sequence. How a micro-batch is cut changes no bit of the result, and a cut costs nothing to speak of
    /// where computing a layer twice costs a third of its time: so the budget is kept by cutting first, and
    /// layers are computed twice only where a single sequence is too long for it.
    pub fn cut(&self, sequences: &[&Sequence]) -> Vec<Batch> {
        let token = (kept_bytes_per_token(self.arch) * self.arch.num_layers).max(1) as u64;
        let longest = if self.source.device().is_cpu() { LONGEST_PIECE } else { LONGEST_PIECE_OF_A_DEVICE };
        let most = usize::try_from(self.activation_memory / token).map_or(longest, |n| n.min(longest));
        let (mut pieces, mut piece, mut tokens) = (Vec::new(), Vec::new(), 0);
        for sequence in sequences {
            let length = sequence.input_ids.len();
            if !piece.is_empty() && tokens + length > most {
                pieces.push(Batch::new(std::mem::take(&mut piece)));
                tokens = 0;
            }
            piece.push(*sequence);
            tokens += length;
        }
        pieces.push(Batch::new(piece));
        pieces
    }

    /// Runs the micro-batches one after the other. The loss is divided once, by the labels of all of
    /// them, so how the sequences are cut into micro-batches changes nothing.
    ///
    /// # Errors
    /// If no sequence has a label, the loss is not finite, or a layer or an operator fails.
    pub fn run(&self, adapter: &Adapter, micro_batches: &[Batch]) -> Result<StepResult> {
        let labels = micro_batches.iter().map(|b| b.rows.len()).sum::<usize>() as u64;
        let labels = self.ranks.all_reduce_counts(labels) as usize;
        if labels == 0 {
            return Err(Error::NoLabel);
        }
        let placed = adapter.on(self.source.device())?;
        let decoder = Decoder { arch: self.arch, source: self.source, adapter: Some(&placed) };
        let mut gradients = Gradients::new(adapter.trainable().count(), 0);
        let mut losses: Vec<SequenceLoss> = Vec::new();
        for batch in micro_batches {
            let options = StepOptions {
                normaliser: labels as f64,
                activation_memory: self.activation_memory,
                dropout: self.dropout,
                neftune: self.neftune,
                first_sequence: losses.len(),
            };
            losses.extend(decoder.losses_and_gradients(batch, &options, &mut |g| gradients.push(g))?);
        }
        let loss = tree_sum(&losses)? / labels as f64;
        if !loss.is_finite() {
            return Err(Error::NotFinite { what: "the loss", value: loss });
        }
        let correct = losses.iter().map(|l| l.correct).sum();
        Ok(StepResult { loss, labels, correct, gradients: gradients.finish()? })
    }
}

/// The sum of the sequences' losses, in the order of the gradients' sum.
fn tree_sum(losses: &[SequenceLoss]) -> Result<f64> {
    let add = |a: f64, b: f64| Ok::<_, Error>(a + b);
    let mut tree = ft_dist::TreeSum::default();
    for loss in losses {
        tree.push(loss.sum, add)?;
    }
    Ok(tree.finish(add)?.unwrap_or(0.0))
}
