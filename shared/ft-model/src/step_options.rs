//! How a training step is computed, and which random streams it draws from.

use ft_kernels::linear::Dropout;
use ft_kernels::philox::Stream;

use crate::arch::Architecture;
use crate::projection::Projection;

/// How a training step is computed.
#[derive(Debug, Clone, Copy)]
pub struct StepOptions {
    /// The number of labels in the whole optimizer step: what every loss is divided by.
    pub normaliser: f64,
    /// Bytes that may be kept between forward and backward, beside each layer's input.
    pub activation_memory: u64,
    /// Where the dropout masks come from, where there is dropout.
    pub dropout: Option<DropoutKey>,
    /// Where the embeddings' noise comes from, where there is some.
    pub neftune: Option<NeftuneKey>,
    /// The number, within the step, of the batch's first sequence.
    pub first_sequence: usize,
}

/// What, with layer, projection and sequence, a dropout mask depends on: nothing that ran before.
#[derive(Debug, Clone, Copy)]
pub struct DropoutKey {
    pub p: f64,
    pub seed: u64,
    pub step: u64,
}

/// What, with the sequence, the noise on embeddings depends on.
#[derive(Debug, Clone, Copy)]
pub struct NeftuneKey {
    /// `neftune_noise_alpha`
    pub alpha: f64,
    pub seed: u64,
    pub step: u64,
}

/// Random streams of the embeddings' noise have this purpose.
const NEFTUNE_PURPOSE: u32 = 0x0fff;
/// Random streams of dropout have purposes from here on: one a layer and projection.
const DROPOUT_PURPOSE: u32 = 0x1000;
/// More sequences than any step has.
const SEQUENCES_A_STEP: u64 = 1 << 24;

impl StepOptions {
    /// The streams of a projection's dropout masks, one for each of the batch's sequences.
    pub(crate) fn dropout_of(&self, layer: usize, projection: Projection, sequences: usize) -> Option<Dropout> {
        self.dropout(projection.stream(layer), sequences)
    }

    /// The streams of the dropout masks of the head's pair.
    pub(crate) fn dropout_of_head(&self, arch: &Architecture, sequences: usize) -> Option<Dropout> {
        self.dropout(Projection::streams_of_layers(arch.num_layers), sequences)
    }

    fn dropout(&self, of: usize, sequences: usize) -> Option<Dropout> {
        let key = self.dropout.filter(|key| key.p > 0.0)?;
        let purpose = DROPOUT_PURPOSE + of as u32;
        let stream = |s: usize| Stream::new(key.seed, purpose, key.step * SEQUENCES_A_STEP + s as u64);
        let first = self.first_sequence;
        Some(Dropout { p: key.p, streams: (first..first + sequences).map(stream).collect() })
    }

    /// The stream of the noise on the embeddings of the batch's sequence `i`.
    pub(crate) fn noise_of(&self, key: &NeftuneKey, i: usize) -> Stream {
        let number = key.step * SEQUENCES_A_STEP + (self.first_sequence + i) as u64;
        Stream::new(key.seed, NEFTUNE_PURPOSE, number)
    }
}
