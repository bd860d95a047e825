//! Speed against accuracy: the same steps on the same rows, with the frozen weights in every type.
//!
//! Each type trains in a process of its own, `ft-bench train`, so that its peak of memory is its own.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use candle_core::Device;
use ft_cli::Usage;
use ft_kernels::backend::is_host;
use ft_plot::{Dot, Scatter, figure};
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::{NumberType, PrecisionArgs};
use crate::machine;
use crate::report::Report;
use crate::table::Table;

/// What one type took and gave.
#[derive(Debug, Serialize)]
struct TypeFigures {
    #[serde(rename = "type")]
    name: &'static str,
    tokens_per_second: f64,
    gflops: f64,
    frozen_bytes: u64,
    peak_memory_bytes: Option<u64>,
    losses: Vec<f64>,
    /// The largest of the steps' differences to f32's losses, in nats.
    loss_difference: f64,
}

/// `ft-bench precision`
pub fn run(args: &PrecisionArgs, threads: usize) -> Result<Report> {
    let device = ft_model::device::named(args.device.device)?;
    let types = types(args, &device)?;
    let bar = ft_cli::progress(Some(types.len() as u64), "training");
    let mut all: Vec<TypeFigures> = Vec::new();
    for precision in types {
        ft_io::interrupt::check()?;
        let mut found = train(args, threads, precision).with_context(|| format!("--types {}", precision.name()))?;
        let exact = all.first().map_or(&found.losses, |f32| &f32.losses);
        found.loss_difference = largest_difference(exact, &found.losses);
        tracing::info!(
            "{}: {:.0} tokens/s, loss off by {:.1e}",
            found.name,
            found.tokens_per_second,
            found.loss_difference
        );
        all.push(found);
        bar.inc(1);
    }
    bar.finish();
    Ok(report(args, threads, &device, &all))
}

/// f32, which the others are held against, and what was asked for.
fn types(args: &PrecisionArgs, device: &Device) -> Result<Vec<NumberType>> {
    let there = |precision: &NumberType| !is_host(device) || *precision != NumberType::Tf32;
    if let Some(missing) = args.types.iter().find(|precision| !there(precision)) {
        bail!(Usage(format!("--types {}: a CPU has no such products; it takes a GPU", missing.name())));
    }
    let wanted = |precision: &NumberType| match args.types.as_slice() {
        [] => there(precision),
        some => *precision == NumberType::F32 || some.contains(precision),
    };
    Ok(NumberType::ALL.into_iter().filter(wanted).collect())
}

/// Takes the steps in another process.
fn train(args: &PrecisionArgs, threads: usize, precision: NumberType) -> Result<TypeFigures> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(program);
    command.args(["train", "--quiet", "--json", "-", "--no-best-product", "--model"]).arg(&args.model);
    let numbers = [
        ("--max-steps", args.max_steps.to_string()),
        ("--batch-size", args.batch_size.to_string()),
        ("--seq-len", args.seq_len.to_string()),
        ("--lora-r", args.lora_r.to_string()),
        ("--seed", args.seed.to_string()),
        ("--threads", threads.to_string()),
        ("--device", args.device.device.to_string()),
        ("--load-in", precision.load_in().to_owned()),
    ];
    command.args(numbers.iter().flat_map(|(name, value)| [*name, value.as_str()]));
    if args.device.reference_operators {
        command.arg("--reference-operators");
    }
    if precision == NumberType::Tf32 {
        command.arg("--tf32");
    }
    let output = command.stdin(Stdio::null()).output().context("cannot start another process")?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        let last = told.trim_end().lines().last().unwrap_or("it ended without a word");
        bail!("{}", last.strip_prefix("ft-bench: error: ").unwrap_or(last));
    }
    let found: Value = serde_json::from_slice(&output.stdout).context("the other process wrote no JSON")?;
    read(precision, &found).context("the other process left out a figure")
}

fn read(precision: NumberType, found: &Value) -> Option<TypeFigures> {
    Some(TypeFigures {
        name: precision.name(),
        tokens_per_second: found["tokens_per_second"].as_f64()?,
        gflops: found["gflops"].as_f64()?,
        frozen_bytes: found["frozen_bytes"].as_u64()?,
        peak_memory_bytes: found["peak_memory_bytes"].as_u64(),
        losses: found["losses"].as_array()?.iter().map(Value::as_f64).collect::<Option<_>>()?,
        loss_difference: 0.0,
    })
}

fn largest_difference(exact: &[f64], losses: &[f64]) -> f64 {
    exact.iter().zip(losses).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max)
}

fn report(args: &PrecisionArgs, threads: usize, device: &Device, all: &[TypeFigures]) -> Report {
    let mut table =
        Table::new(&["type", "frozen", "peak memory", "tokens/s", "of f32's", "GFLOP/s", "last loss", "loss off by"]);
    let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    let first = all.first().map_or(f64::NAN, |f32| f32.tokens_per_second);
    for found in all {
        table.row(&[
            found.name.to_owned(),
            megabytes(found.frozen_bytes),
            found.peak_memory_bytes.map_or_else(|| "unknown".into(), megabytes),
            figure(found.tokens_per_second),
            format!("{:.2}", found.tokens_per_second / first),
            figure(found.gflops),
            found.losses.last().map_or_else(String::new, |loss| format!("{loss:.5}")),
            format!("{:.1e}", found.loss_difference),
        ]);
    }
    let place = ft_model::device::describe(device);
    let mut notes = vec![
        format!(
            "{} steps of {} × {} random tokens, computed on {place}",
            args.max_steps, args.batch_size, args.seq_len
        ),
        "loss off by: the largest of the steps' differences to f32's, in nats".into(),
    ];
    if is_host(device) {
        notes.push("on a CPU types are storage: products widen the frozen weights and compute in f32".into());
    }
    let dot =
        |found: &TypeFigures| Dot { label: found.name.into(), x: found.loss_difference, y: found.tokens_per_second };
    let figures = json!({
        "model": ft_io::model_name(&args.model),
        "device": place,
        "max_steps": args.max_steps,
        "batch_size": args.batch_size,
        "seq_len": args.seq_len,
        "lora_r": args.lora_r,
        "types": all,
    });
    Report {
        benchmark: "precision",
        machine: machine::describe(threads),
        figures: figures.as_object().cloned().unwrap_or_default(),
        tables: vec![table],
        notes,
        panels: Vec::new(),
        scatter: Some(Scatter {
            title: format!("speed against accuracy, {place}"),
            x: "loss off by (nats)".into(),
            y: "tokens/s".into(),
            dots: all.iter().map(dot).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn names_are_those_that_are_typed() {
        for precision in NumberType::ALL {
            assert_eq!(precision.to_possible_value().unwrap().get_name(), precision.name());
        }
        assert_eq!(largest_difference(&[1.0, 2.0], &[1.5, 1.0]), 1.0);
    }
}
