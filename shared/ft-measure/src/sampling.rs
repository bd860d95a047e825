//! How the next token is chosen.

use candle_core::Tensor;
use candle_transformers::generation::{LogitsProcessor, Sampling};

/// One stream of draws a row, so that no row's answer depends on another's.
pub struct Sampler {
    rows: Vec<LogitsProcessor>,
}

impl Sampler {
    /// For `rows` rows; row `i` draws with the seed `seed + i`.
    pub fn new(sampling: &Sampling, seed: u64, rows: usize) -> Self {
        let stream = |row: u64| LogitsProcessor::from_sampling(seed.wrapping_add(row), sampling.clone());
        Self { rows: (0..rows as u64).map(stream).collect() }
    }

    /// The next token of row `row`, from logits `[vocabulary]`.
    pub(crate) fn choose(&mut self, row: usize, logits: &Tensor) -> ft_model::Result<u32> {
        Ok(self.rows[row].sample(logits)?)
    }
}
