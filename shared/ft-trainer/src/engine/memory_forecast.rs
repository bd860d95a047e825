//! How much memory a run will need at most: measured on its first step, and told before the others.

use ft_kernels::memory::{current_rss_bytes, peak_rss_bytes};
use ft_model::batch::Batch;

use crate::engine::setup::Setup;
use crate::engine::step::pieces;
use crate::plan::sampler::Sampler;

/// What is foreseen, and what came.
#[derive(Debug, Clone)]
pub struct MemoryForecast {
    /// Tokens of the run's largest piece.
    heaviest: usize,
    /// Of one copy of everything that is trained.
    adapter: u64,
    /// Resident before the first step.
    before: Option<u64>,
    /// Peak of the whole run, as foreseen after its first step.
    pub predicted: Option<u64>,
}

/// Copies of what is trained that the first step brings: the gradients with their partial sums, and two moments.
const COPIES: u64 = 6;

impl MemoryForecast {
    /// Of a run that is ready to start.
    pub fn new(setup: &Setup, sampler: &Sampler, steps: u64) -> Self {
        Self {
            heaviest: heaviest(setup, sampler, steps).iter().map(Batch::tokens).max().unwrap_or(0),
            adapter: 4 * setup.adapter.parameters() as u64,
            before: current_rss_bytes(),
            predicted: None,
        }
    }

    /// After the first step that this process takes: what it needed, what a larger piece will need more, and the buffer
    /// of a checkpoint.
    pub fn after_step(&mut self, pieces: &[Batch]) {
        if self.predicted.is_some() {
            return;
        }
        let tokens = pieces.iter().map(Batch::tokens).max().unwrap_or(0).max(1) as u64;
        if let (Some(peak), Some(before)) = (peak_rss_bytes(), self.before) {
            let activations = peak.saturating_sub(before + COPIES * self.adapter);
            let more = (self.heaviest as u64).saturating_sub(tokens) * activations / tokens;
            self.predicted = Some(peak + more + self.adapter);
        }
    }

    /// Says both.
    pub fn compare(&self) {
        if let (Some(predicted), Some(peak)) = (self.predicted, peak_rss_bytes()) {
            tracing::info!(
                "peak memory {} MB; {} MB were predicted after the first step",
                peak / 1_000_000,
                predicted / 1_000_000
            );
        }
    }
}

/// The pieces of the micro-batch in the first epoch that holds the largest one.
pub fn heaviest(setup: &Setup, sampler: &Sampler, steps: u64) -> Vec<Batch> {
    let rows = &setup.train.sequences;
    let micro_batches = || (0..sampler.steps_an_epoch().min(steps)).flat_map(|step| sampler.step(step));
    let tokens = |&row: &usize| rows[row].input_ids.len();
    // A piece is as large as its budget, or as the one row that is larger.
    let candidates = [
        micro_batches().max_by_key(|micro_batch| micro_batch.iter().map(tokens).sum::<usize>()),
        micro_batches().max_by_key(|micro_batch| micro_batch.iter().map(tokens).max()),
    ];
    let step = setup.step(None);
    let cut = |micro_batch: Vec<usize>| pieces(&step, rows, &[micro_batch]);
    let largest = |pieces: &Vec<Batch>| pieces.iter().map(Batch::tokens).max();
    candidates.into_iter().flatten().map(cut).max_by_key(largest).unwrap_or_default()
}
