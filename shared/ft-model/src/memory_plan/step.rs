//! An optimizer step by its sizes.

use ft_dist::forest_shape;
use ft_kernels::Precision;

use crate::arch::Architecture;
use crate::block::kept_bytes_per_token;
use crate::decoder::recomputed_layers;
use crate::head::chunk_rows;
use crate::step::pieces;

/// A step of equal sequences.
#[derive(Debug, Clone, Copy)]
pub struct StepShape {
    /// Sequences in a micro-batch of a rank.
    pub micro_batch: usize,
    /// Micro-batches of a rank.
    pub accumulation: usize,
    /// Tokens in a sequence, each with a label.
    pub length: usize,
    /// Bytes that may be kept between forward and backward.
    pub activation_memory: u64,
    /// The tokens of a piece at most: [`crate::step::longest_piece`].
    pub longest_piece: usize,
    /// What activations are held in.
    pub precision: Precision,
    /// Whether a CPU computes.
    pub on_cpu: bool,
}

impl StepShape {
    /// A rank's sequences.
    pub fn sequences(&self) -> usize {
        self.micro_batch * self.accumulation
    }

    /// The sequences of each piece of a micro-batch.
    fn pieces(&self) -> Vec<usize> {
        let lengths = (0..self.micro_batch).map(|_| self.length);
        pieces(lengths, self.longest_piece).into_iter().map(|piece| piece.len()).collect()
    }

    /// Passes through the model: micro-batches, cut to the memory that there is.
    pub fn passes(&self) -> usize {
        self.accumulation * self.pieces().len()
    }

    /// The most partial sums that are alive between two pieces on a rank.
    pub(super) fn most_partial_sums(&self, rank: usize) -> usize {
        let first = rank * self.sequences();
        let of_step = (0..self.accumulation).flat_map(|_| self.pieces());
        let ends = of_step.scan(first, |end, piece| {
            *end += piece;
            Some(*end)
        });
        ends.map(|end| forest_shape(first..end).len()).max().unwrap_or(0)
    }

    /// About what a piece needs beside weights and gradients: each layer's input, what is kept inside the layers, one
    /// layer's backward, and logits with their gradient for one chunk.
    pub(super) fn activation_bytes(&self, arch: &Architecture) -> u64 {
        let tokens = self.length * self.pieces().into_iter().max().unwrap_or(0);
        let inside = kept_bytes_per_token(arch, self.precision) * tokens;
        let recomputed = recomputed_layers(arch, self.precision, tokens, self.activation_memory);
        let kept = (arch.num_layers - recomputed + usize::from(recomputed > 0)) * inside;
        let inputs = (arch.num_layers + 1) * tokens * arch.hidden_size * self.precision.activation_bytes();
        let logits = 2 * chunk_rows(self.on_cpu).min(tokens) * arch.vocab_size * size_of::<f32>();
        (inputs + kept + inside + logits) as u64
    }
}
