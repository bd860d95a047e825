//! One optimizer step over its micro-batches: losses and summed gradients.

use std::ops::Range;

use candle_core::Tensor;
use ft_dist::Communicator;
use ft_kernels::backend::{Compute, Precision, is_host};

use crate::arch::Architecture;
use crate::batch::{Batch, Sequence};
use crate::block::kept_bytes_per_token;
use crate::decoder::Decoder;
use crate::error::{Error, Result};
use crate::gradients::{Gradients, scale};
use crate::head::SequenceLoss;
use crate::layers::LayerSource;
use crate::lora::Adapter;
use crate::optimizer::Cut;
use crate::step_options::{DropoutKey, NeftuneKey, StepOptions};

/// What a step trains on, and how.
pub struct Step<'a> {
    /// Which operators compute, and in what; where, the source's device says.
    pub compute: Compute,
    pub arch: &'a Architecture,
    pub source: &'a dyn LayerSource,
    /// The ranks that work on the same step.
    pub ranks: &'a dyn Communicator,
    /// Which part of the summed gradients this rank gets; all of them without.
    pub cut: Option<&'a Cut>,
    /// What the loss is multiplied by while gradients are formed, a power of two: 1 but in half precision.
    pub loss_scale: f64,
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
    /// One a trained tensor, in the order of [`Adapter::trainable`]; with a cut this rank's part of each.
    pub gradients: Vec<Tensor>,
    /// The most bytes that partial sums of gradients took between two pieces.
    pub partial_bytes: u64,
    /// Bytes that this rank sent to the others for the sum of the gradients.
    pub sent_bytes: u64,
}

/// What a piece costs beside its tokens, which is why there should be few of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceCost {
    /// Nothing: the weights lie in memory.
    Nothing,
    /// Every layer is read or gathered anew.
    Layers,
    /// A device waits for each of its many small operations to be started.
    Launches,
}

impl PieceCost {
    /// With the weights of `source`.
    fn of(source: &dyn LayerSource) -> Self {
        match (is_host(source.device()), source.forms_layers_anew()) {
            (false, _) => Self::Launches,
            (true, true) => Self::Layers,
            (true, false) => Self::Nothing,
        }
    }

    /// The tokens of a piece at most, whatever memory there is.
    fn longest(self) -> usize {
        match self {
            // More tokens make no product of a CPU faster.
            Self::Nothing => 512,
            // Reading SmolLM2's layers for each 512 tokens takes a twentieth of a step from the page cache: of 2,048 tokens
            // that is a hundredth, and each more costs half a megabyte.
            Self::Layers => 2048,
            Self::Launches => 16 * 1024,
        }
    }
}

impl<'a> Step<'a> {
    /// On one rank, with the device's own operators in f32, without random numbers.
    pub fn alone(arch: &'a Architecture, source: &'a dyn LayerSource, activation_memory: u64) -> Self {
        let (compute, ranks) = (Compute::on(source.device()), &ft_dist::Solo);
        Self {
            compute,
            arch,
            source,
            ranks,
            cut: None,
            loss_scale: 1.0,
            activation_memory,
            dropout: None,
            neftune: None,
        }
    }

    /// Cuts the sequences of a micro-batch into pieces whose activations fit the budget, of at least one
    /// sequence. How a micro-batch is cut changes no bit of the result, and a cut costs nothing to speak of
    /// where computing a layer twice costs a third of its time: so the budget is kept by cutting first, and
    /// layers are computed twice only where a single sequence is too long for it.
    pub fn cut(&self, sequences: &[&Sequence]) -> Vec<Batch> {
        let cost = PieceCost::of(self.source);
        let most = longest_piece(self.arch, self.compute.precision, self.activation_memory, cost);
        let lengths = sequences.iter().map(|sequence| sequence.input_ids.len());
        pieces(lengths, most).into_iter().map(|piece| Batch::new(sequences[piece].iter().copied())).collect()
    }

    /// Runs the micro-batches one after the other. The loss is divided once, by the labels of all of them on all
    /// ranks, so how the sequences are cut into micro-batches and dealt out to ranks changes nothing. Ranks hold
    /// consecutive sequences of the step, in the ranks' order; one may have none.
    ///
    /// # Errors
    /// If no sequence has a label, the loss is not finite, a layer or an operator fails, or another rank does.
    pub fn run(&self, adapter: &Adapter, micro_batches: &[Batch]) -> Result<StepResult> {
        let shares = self.shares(micro_batches)?;
        let labels = shares.labels();
        if labels == 0 {
            return Err(Error::NoLabel);
        }
        let first = shares.sequences[self.ranks.rank()].start;
        let placed = adapter.on(self.source.device())?;
        let decoder = Decoder { compute: self.compute, arch: self.arch, source: self.source, adapter: Some(&placed) };
        let mut gradients = Gradients::new(adapter.trainables(), first);
        let mut losses: Vec<SequenceLoss> = Vec::new();
        let mut partial_bytes = 0;
        for i in 0..self.passes(&shares, micro_batches.len()) {
            let Some(batch) = micro_batches.get(i) else {
                decoder.accompany(true)?;
                continue;
            };
            let options = StepOptions {
                normaliser: labels as f64 / self.loss_scale,
                activation_memory: self.activation_memory,
                dropout: self.dropout,
                neftune: self.neftune,
                first_sequence: first + losses.len(),
            };
            losses.extend(decoder.losses_and_gradients(batch, &options, &mut |gradient| gradients.push(gradient))?);
            gradients.end_micro_batch(first + losses.len())?;
            partial_bytes = partial_bytes.max(gradients.bytes());
        }
        let losses = self.all_losses(losses, &shares)?;
        let loss = tree_sum(&losses)? / labels as f64;
        if !loss.is_finite() {
            let sequence = losses.iter().position(|loss| !loss.sum.is_finite());
            return Err(Error::NotFinite { what: "the loss", value: loss, sequence });
        }
        let correct = losses.iter().map(|l| l.correct).sum();
        let before = self.ranks.traffic().total();
        let gradients = self.sum(gradients, adapter, &shares)?;
        let sent_bytes = self.ranks.traffic().total() - before;
        Ok(StepResult { loss, labels, correct, gradients, partial_bytes, sent_bytes })
    }

    /// The losses of sequences that are not trained on, those of all ranks in the ranks' order.
    ///
    /// # Errors
    /// As [`Self::run`], but for a loss that is not finite.
    pub fn losses(&self, adapter: Option<&Adapter>, micro_batches: &[Batch]) -> Result<Vec<SequenceLoss>> {
        let shares = self.shares(micro_batches)?;
        let placed = adapter.map(|adapter| adapter.on(self.source.device())).transpose()?;
        let decoder =
            Decoder { compute: self.compute, arch: self.arch, source: self.source, adapter: placed.as_deref() };
        let mut losses = Vec::new();
        for i in 0..self.passes(&shares, micro_batches.len()) {
            match micro_batches.get(i) {
                Some(batch) => losses.extend(decoder.losses(batch)?),
                None => decoder.accompany(false)?,
            }
        }
        self.all_losses(losses, &shares)
    }

    /// What each rank has of the step.
    fn shares(&self, micro_batches: &[Batch]) -> Result<Shares> {
        let own = [
            micro_batches.iter().map(Batch::sequences).sum::<usize>() as u64,
            micro_batches.iter().map(|b| b.rows.len()).sum::<usize>() as u64,
            micro_batches.len() as u64,
        ];
        let all = ft_dist::gather_uneven(self.ranks, &own, &vec![3; self.ranks.world()])?;
        let mut shares = Shares::default();
        let mut next = 0;
        for of in all.chunks_exact(3) {
            shares.sequences.push(next..next + of[0] as usize);
            next += of[0] as usize;
            shares.labels.push(of[1] as usize);
            shares.micro_batches.push(of[2] as usize);
        }
        Ok(shares)
    }

    /// How many micro-batches this rank takes part in: where layers come from all ranks, as many as the rank with the
    /// most has.
    fn passes(&self, shares: &Shares, own: usize) -> usize {
        let most = shares.micro_batches.iter().copied().max().unwrap_or(0);
        if self.source.is_collective() { most } else { own }
    }

    /// The losses of all ranks' sequences, in their order.
    fn all_losses(&self, own: Vec<SequenceLoss>, shares: &Shares) -> Result<Vec<SequenceLoss>> {
        if self.ranks.world() == 1 {
            return Ok(own);
        }
        let numbers: Vec<u64> =
            own.iter().flat_map(|loss| [loss.sum.to_bits(), loss.labels as u64, loss.correct as u64]).collect();
        let counts: Vec<usize> = shares.sequences.iter().map(|range| 3 * range.len()).collect();
        let all = ft_dist::gather_uneven(self.ranks, &numbers, &counts)?;
        let loss =
            |of: &[u64]| SequenceLoss { sum: f64::from_bits(of[0]), labels: of[1] as usize, correct: of[2] as usize };
        Ok(all.chunks_exact(3).map(loss).collect())
    }

    /// The gradients of all ranks.
    fn sum(&self, gradients: Gradients<'_>, adapter: &Adapter, shares: &Shares) -> Result<Vec<Tensor>> {
        let gradients = if self.ranks.world() == 1 {
            gradients.finish()?
        } else {
            let shapes: Vec<Vec<usize>> = adapter.trainable().map(|t| t.tensor.dims().to_vec()).collect();
            gradients.finish_among(self.ranks, &shares.sequences, &shapes, self.cut)?
        };
        if self.loss_scale.total_cmp(&1.0).is_ne() {
            scale(&gradients, (1.0 / self.loss_scale) as f32)?;
        }
        Ok(gradients)
    }
}

/// The tokens of a piece at most.
pub fn longest_piece(arch: &Architecture, precision: Precision, activation_memory: u64, cost: PieceCost) -> usize {
    let token = (kept_bytes_per_token(arch, precision) * arch.num_layers).max(1) as u64;
    let longest = cost.longest();
    usize::try_from(activation_memory / token).map_or(longest, |n| n.min(longest))
}

/// Consecutive sequences of these lengths in pieces of at most `most` tokens and at least one sequence.
pub fn pieces(lengths: impl IntoIterator<Item = usize>, most: usize) -> Vec<Range<usize>> {
    let (mut pieces, mut piece, mut tokens) = (Vec::new(), 0..0, 0);
    for length in lengths {
        if !piece.is_empty() && tokens + length > most {
            let next = piece.end..piece.end;
            pieces.push(std::mem::replace(&mut piece, next));
            tokens = 0;
        }
        piece.end += 1;
        tokens += length;
    }
    pieces.push(piece);
    pieces
}

/// What each rank has of a step: its sequences' numbers, its labels, its micro-batches.
#[derive(Debug, Default)]
struct Shares {
    sequences: Vec<Range<usize>>,
    labels: Vec<usize>,
    micro_batches: Vec<usize>,
}

impl Shares {
    fn labels(&self) -> usize {
        self.labels.iter().sum()
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
