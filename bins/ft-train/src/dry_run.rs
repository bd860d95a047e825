//! `--dry-run`: what a run would do and need.

use std::io::Write;

use anyhow::{Context, Result};
use ft_cli::LogFormat;
use ft_trainer::engine::dry_run::{DryRun, dry_run};
use ft_trainer::engine::setup::Setup;
use ft_trainer::json::Entry;
use ft_trainer::options::Options;
use ft_trainer::plan::schedule::Schedule;
use serde_json::Value;

/// Steps of which the learning rate is told.
const WIDTH: u64 = 60;
const HEIGHT: usize = 6;
const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Tells the plan on stdout: a table, or with `--log-format json` an object.
pub fn tell(options: &Options, format: LogFormat, mut setup: Setup) -> Result<()> {
    let DryRun { figures, schedule, steps } = dry_run(options, &mut setup)?;
    let (text, mut stdout) = match format {
        LogFormat::Json => (format!("{}\n", Value::Object(figures)), ft_io::output::stdout()),
        LogFormat::Text => (table(&figures, &schedule, steps), ft_io::output::listing()),
    };
    if setup.ranks.rank() > 0 {
        return Ok(());
    }
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context("cannot write to stdout")
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
    // The product may be more than 64 bits hold.
    let step = |c: u64| (u128::from(c) * u128::from(steps.saturating_sub(1)) / u128::from((columns - 1).max(1))) as u64;
    let rates: Vec<f64> = (0..columns).map(|c| schedule.learning_rate(step(c))).collect();
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
