//! `--dry-run`: what a run would do and need.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use ft_kernels::memory::peak_rss_bytes;
use ft_model::batch::Batch;
use serde_json::{Value, json};

use ft_trainer::args::Args;
use ft_trainer::engine::memory_forecast::heaviest;
use ft_trainer::engine::setup::Setup;
use ft_trainer::plan::sampler::Sampler;
use ft_trainer::plan::schedule::Schedule;
use ft_trainer::run::trainer::pieces;
use ft_trainer::run::trainer_state::{Entry, entry, rounded};

/// Steps of which the learning rate is told.
const WIDTH: u64 = 60;
const HEIGHT: usize = 6;
const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Measures one micro-batch and tells the plan on stdout: a table, or with `--log-format json` an object.
pub fn tell(args: &Args, mut setup: Setup) -> Result<()> {
    let sampler = setup.sampler(args)?;
    let steps = sampler.steps(&args.training);
    let schedule = Schedule::new(&args.training, steps)?;
    let mut plan = setup.figures(&sampler, args);
    plan.insert("steps".into(), steps.into());
    plan.extend(rates(&schedule, steps));
    plan.extend(measure(args, &mut setup, &sampler, steps)?);
    let (text, mut stdout) = match args.common.log_format {
        ft_cli::LogFormat::Json => (format!("{}\n", Value::Object(plan)), ft_io::output::stdout()),
        ft_cli::LogFormat::Text => (table(&plan, &schedule, steps), ft_io::output::listing()),
    };
    if setup.ranks.rank() > 0 {
        return Ok(());
    }
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context("cannot write to stdout")
}

/// Of the first step, the highest, and of the last.
fn rates(schedule: &Schedule, steps: u64) -> Entry {
    let last = steps.saturating_sub(1);
    let peak = (0..steps).map(|step| schedule.learning_rate(step)).fold(0.0, f64::max);
    entry(json!({
        "warmup_steps": schedule.warmup_steps(),
        "learning_rate_first": schedule.learning_rate(0),
        "learning_rate_peak": peak,
        "learning_rate_last": schedule.learning_rate(last),
    }))
}

/// Takes the run's heaviest micro-batch, whose memory is the run's, and then its first one, whose time is.
fn measure(args: &Args, setup: &mut Setup, sampler: &Sampler, steps: u64) -> Result<Entry> {
    let mut optimizer = setup.optimizer(args, None)?;
    let ranks = Arc::clone(&setup.ranks);
    let first = sampler.share(0, ranks.rank()).into_iter().next().unwrap_or_default();
    let heavy = heaviest(setup, sampler, steps);
    let mut run = |pieces: &[Batch], setup: &mut Setup| -> Result<(f64, f64)> {
        let begun = Instant::now();
        let found = setup.step(None).run(&setup.adapter, pieces).context("the micro-batch that is measured")?;
        let computed = begun.elapsed().as_secs_f64();
        optimizer.update(&mut setup.adapter, &found.gradients, 0.0, args.training.max_grad_norm, &*ranks)?;
        Ok((computed, begun.elapsed().as_secs_f64() - computed))
    };
    run(&heavy, setup)?;
    let pieces = pieces(&setup.step(None), &setup.train.sequences, &[first]);
    let (seconds, update) = run(&pieces, setup)?;
    let tokens: usize = pieces.iter().map(Batch::tokens).sum();
    let speed = tokens as f64 / seconds;
    let plan = sampler.plan();
    let epochs = steps as f64 / plan.steps_an_epoch as f64;
    // Beside what was measured, a step of more micro-batches keeps more partial sums of gradients, and a checkpoint has
    // its buffer.
    let adapter = 4 * setup.adapter.parameters() as u64;
    let doublings = u64::from(args.training.gradient_accumulation_steps.ilog2());
    let peak = peak_rss_bytes().map(|peak| peak + adapter * (doublings + 1));
    Ok(entry(json!({
        "measured_tokens": tokens,
        "tokens_per_second": rounded(speed, 1),
        "predicted_seconds": rounded(plan.tokens as f64 * epochs / speed + steps as f64 * update, 1),
        "predicted_peak_memory_bytes": peak,
        "heaviest_piece_tokens": heavy.iter().map(Batch::tokens).max(),
    })))
}

fn table(plan: &Entry, schedule: &Schedule, steps: u64) -> String {
    let width = plan.keys().map(String::len).max().unwrap_or(0);
    let plain = |key: &str, value: &Value| match (key, value) {
        ("predicted_peak_memory_bytes", Value::Number(bytes)) => {
            format!("{bytes} ({:.0} MB)", bytes.as_f64().unwrap_or(0.0) / 1e6)
        }
        ("predicted_seconds", Value::Number(s)) => format!("{s} ({})", clock(s.as_f64().unwrap_or(0.0))),
        (_, Value::String(text)) => text.clone(),
        (_, Value::Null) => "-".into(),
        (_, other) => other.to_string(),
    };
    let lines = plan.iter().map(|(key, value)| format!("{key:width$}  {}\n", plain(key, value)));
    format!("{}\n{}", lines.collect::<String>(), curve(schedule, steps))
}

fn clock(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    format!("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60)
}

/// The learning rate over the steps, in letters.
fn curve(schedule: &Schedule, steps: u64) -> String {
    let columns = WIDTH.min(steps.max(1));
    let rates: Vec<f64> =
        (0..columns).map(|c| schedule.learning_rate(c * steps.saturating_sub(1) / (columns - 1).max(1))).collect();
    let peak = rates.iter().copied().fold(0.0, f64::max);
    let eighths = |rate: f64| if peak > 0.0 { (rate / peak * (HEIGHT * 8) as f64).round() as usize } else { 0 };
    let cell = |rate: f64, row: usize| BLOCKS[eighths(rate).saturating_sub(row * 8).min(8)];
    let line = |row: usize| {
        let label = if row + 1 == HEIGHT { format!("{peak:9.2e}") } else { " ".repeat(9) };
        let cells: String = rates.iter().map(|&rate| cell(rate, row)).collect();
        format!("{label} │{}\n", cells.trim_end())
    };
    let lines: String = (0..HEIGHT).rev().map(line).collect();
    let last = format!("{steps:>width$}", width = (columns as usize).saturating_sub(1));
    format!("learning rate\n{lines}{:9} └{}\n{:11}1{last}\n", "", "─".repeat(columns as usize), "")
}
