//! What the sampler's choices cost and save.

use super::Sampler;

/// The first epoch in numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EpochFigures {
    /// Rows, or bins of rows with `--packing`, in an epoch.
    pub items: usize,
    pub steps_an_epoch: u64,
    /// The tokens that are computed in an epoch.
    pub tokens: u64,
    /// The tokens that would be computed if each micro-batch were padded to its longest item, as others do.
    pub padded_tokens: u64,
    /// The most tokens in a micro-batch.
    pub largest_micro_batch: u64,
    /// The share of the bins that holds tokens; none without `--packing`.
    pub packing_efficiency: Option<f64>,
}

impl EpochFigures {
    /// The share of `padded_tokens` that is padding.
    pub fn padding(&self) -> f64 {
        1.0 - self.tokens as f64 / self.padded_tokens.max(1) as f64
    }
}

impl Sampler {
    /// The first epoch in numbers.
    pub fn first_epoch(&self) -> EpochFigures {
        let of_step = |step| (0..self.world).flat_map(move |rank| self.micro_batches(step, rank));
        let all = (0..self.steps_an_epoch()).flat_map(of_step);
        let (mut items, mut tokens, mut padded_tokens, mut largest_micro_batch) = (0, 0, 0, 0);
        for micro_batch in all {
            let lengths = || micro_batch.iter().map(|&item| self.lengths[item] as u64);
            let sum = lengths().sum::<u64>();
            items += micro_batch.len();
            tokens += sum;
            padded_tokens += lengths().max().unwrap_or(0) * micro_batch.len() as u64;
            largest_micro_batch = largest_micro_batch.max(sum);
        }
        let held: usize = self.lengths.iter().sum();
        let packing_efficiency = self.bin_length.map(|length| held as f64 / (self.lengths.len() * length) as f64);
        let steps_an_epoch = self.steps_an_epoch();
        EpochFigures { items, steps_an_epoch, tokens, padded_tokens, largest_micro_batch, packing_efficiency }
    }
}
