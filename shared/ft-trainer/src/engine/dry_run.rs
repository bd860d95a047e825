//! What a run would do and need, measured on one of its micro-batches.

use std::sync::Arc;
use std::time::Instant;

use ft_kernels::memory::peak_rss_bytes;
use ft_model::batch::Batch;
use serde_json::json;

use crate::engine::memory_forecast::heaviest;
use crate::engine::setup::Setup;
use crate::engine::step::pieces;
use crate::error::{Context, Result};
use crate::json::{Entry, entry, rounded};
use crate::options::Options;
use crate::plan::sampler::Sampler;
use crate::plan::schedule::Schedule;

/// What a run would be.
pub struct DryRun {
    /// Rows, tokens, steps, learning rates, speed, time and memory, under the names that `ft-train --dry-run` writes.
    pub figures: Entry,
    pub schedule: Schedule,
    pub steps: u64,
}

/// Lays the run out and measures two of its micro-batches.
///
/// # Errors
/// If the options contradict the data, or the micro-batches cannot be computed.
pub fn dry_run(options: &Options, setup: &mut Setup) -> Result<DryRun> {
    let sampler = setup.sampler(options)?;
    let steps = sampler.steps(&options.training);
    let schedule = Schedule::new(&options.training, steps)?;
    let mut figures = setup.figures(&sampler, options);
    figures.insert("steps".into(), steps.into());
    figures.extend(rates(&schedule, steps));
    figures.extend(measure(options, setup, &sampler, steps)?);
    Ok(DryRun { figures, schedule, steps })
}

/// Of the first step, the highest, and of the last.
fn rates(schedule: &Schedule, steps: u64) -> Entry {
    let last = steps.saturating_sub(1);
    entry(json!({
        "warmup_steps": schedule.warmup_steps(),
        "learning_rate_first": schedule.learning_rate(0),
        "learning_rate_peak": schedule.highest(),
        "learning_rate_last": schedule.learning_rate(last),
    }))
}

/// Takes the run's heaviest micro-batch, whose memory is the run's, and then its first one, whose time is.
fn measure(options: &Options, setup: &mut Setup, sampler: &Sampler, steps: u64) -> Result<Entry> {
    let mut optimizer = setup.optimizer(options, None)?;
    let ranks = Arc::clone(&setup.ranks);
    let first = sampler.share(0, ranks.rank()).into_iter().next().unwrap_or_default();
    let heavy = heaviest(setup, sampler, steps);
    let mut run = |pieces: &[Batch], setup: &mut Setup| -> Result<(f64, f64)> {
        let begun = Instant::now();
        let found = setup.step(None).run(&setup.adapter, pieces).with_context(|| "the micro-batch that is measured")?;
        let computed = begun.elapsed().as_secs_f64();
        optimizer.update(&mut setup.adapter, &found.gradients, 0.0, options.training.max_grad_norm, &*ranks)?;
        Ok((computed, begun.elapsed().as_secs_f64() - computed))
    };
    run(&heavy, setup)?;
    let pieces = pieces(&setup.step(None), &setup.train.sequences, &[first]);
    let (seconds, update) = run(&pieces, setup)?;
    let tokens: usize = pieces.iter().map(Batch::tokens).sum();
    let speed = tokens as f64 / seconds;
    let epoch = sampler.first_epoch();
    let epochs = steps as f64 / epoch.steps_an_epoch as f64;
    // Beside what was measured, a step of more micro-batches keeps more partial sums of gradients, and a checkpoint has
    // its buffer.
    let adapter = 4 * setup.adapter.parameters() as u64;
    let doublings = u64::from(options.training.gradient_accumulation_steps.ilog2());
    let peak = peak_rss_bytes().map(|peak| peak + adapter * (doublings + 1));
    Ok(entry(json!({
        "measured_tokens": tokens,
        "tokens_per_second": rounded(speed, 1),
        "predicted_seconds": rounded(epoch.tokens as f64 * epochs / speed + steps as f64 * update, 1),
        "predicted_peak_memory_bytes": peak,
        "heaviest_piece_tokens": heavy.iter().map(Batch::tokens).max(),
    })))
}
