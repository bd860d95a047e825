//! Whether a device computes what the CPU does.
//!
//! Each operator runs twice on the same seeded inputs: fused on the CPU, and in its plain version on the device. Then
//! models of the reference folder are trained on the device, and held against what transformers and peft found. With
//! the CPU as the device its plain versions are taken, which are what a GPU takes.

mod experts;
mod inputs;
mod operators;
mod parity;
mod whole;

use anyhow::{Result, bail};
use ft_kernels::Precision;
use serde_json::{Value, json};

use self::inputs::On;
use crate::args::CheckArgs;
use crate::machine;
use crate::report::Report;
use crate::table::Table;

/// An operator's largest error may be this share of its largest number.
const OPERATOR: f64 = 1e-4;
/// What a loss may be off, in nats.
const LOSS: f64 = 1e-4;
/// What the first step's gradients, and logits, may be off as a share of their size.
const SHARE: f64 = 1e-3;
/// What the last adapter may be off: AdamW makes full steps of gradients that are nothing but rounding.
const ADAPTER: f64 = 1e-2;

/// `ft-bench check`: what to report, and whether it is as it should be.
pub fn run(args: &CheckArgs, threads: usize) -> Result<(Report, Result<()>)> {
    let device = ft_model::device::named(args.device.device)?;
    let what = ft_model::device::describe(&device);
    let precision = Precision { tf32: args.tf32, ..Precision::F32 };
    let on = On::compared(args.device.device, device, args.device.reference_operators, precision);
    let mut over = Vec::new();
    let operators = operators(args, &on, &mut over)?;
    let mut tables = vec![operators.0];
    let mut figures = json!({"device": what, "tf32": args.tf32, "operators": operators.1});
    if let Some(folder) = &args.reference {
        let (table, found) = models(args, folder, &on, &mut over)?;
        tables.push(table);
        figures["models"] = found;
    }
    let report = Report {
        benchmark: "check",
        machine: machine::describe(threads),
        figures: figures.as_object().cloned().unwrap_or_default(),
        tables,
        notes: vec![format!("computed on {what}{}", if args.tf32 { ", products in TF32" } else { "" })],
        panels: Vec::new(),
        scatter: None,
    };
    Ok((report, if args.tf32 { Ok(()) } else { verdict(&over) }))
}

fn verdict(over: &[String]) -> Result<()> {
    match over {
        [] => Ok(()),
        over => bail!("too far from the CPU or from the reference: {}", over.join(", ")),
    }
}

/// What the table says of a line. TF32 is told and not judged.
fn word(args: &CheckArgs, wrong: bool) -> String {
    match (wrong, args.tf32) {
        (false, _) => "ok",
        (true, true) => "as TF32 is",
        (true, false) => "WRONG",
    }
    .into()
}

fn operators(args: &CheckArgs, on: &On, over: &mut Vec<String>) -> Result<(Table, Value)> {
    let mut table = Table::new(&["operator", "largest error", "as a share", ""]);
    let mut found = Vec::new();
    for case in operators::all().into_iter().chain(experts::all()).chain(whole::all()) {
        ft_io::interrupt::check()?;
        // What one operator cannot do is told, and the others are tried.
        let (error, share) = match inputs::compare(on, &*case.run) {
            Ok(found) => found,
            Err(reason) => {
                tracing::warn!("{}: {reason:#}", case.name);
                (f64::NAN, f64::NAN)
            }
        };
        let wrong = share.is_nan() || share > OPERATOR;
        if wrong {
            over.push(case.name.clone());
        }
        table.row(&[case.name.clone(), format!("{error:.1e}"), format!("{share:.1e}"), word(args, wrong)]);
        found.push(json!({"operator": case.name, "error": error, "share": share}));
    }
    Ok((table, found.into()))
}

fn models(args: &CheckArgs, folder: &std::path::Path, on: &On, over: &mut Vec<String>) -> Result<(Table, Value)> {
    let head = ["model", "logits", "losses of 10 steps", "gradients", "adapter", "logits after", "seconds", ""];
    let mut table = Table::new(&head);
    let mut found = Vec::new();
    for dir in parity::folders(folder, &args.only)? {
        ft_io::interrupt::check()?;
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let e = match parity::run(&dir, on) {
            Ok(found) => found,
            Err(reason) => {
                tracing::warn!("{name}: {reason:#}");
                parity::Errors { loss: f64::NAN, ..parity::Errors::default() }
            }
        };
        let shares = [e.logits, e.gradient, e.final_logits];
        let right = e.loss <= LOSS && e.adapter <= ADAPTER && shares.iter().all(|share| *share <= SHARE);
        let wrong = !right;
        if wrong {
            over.push(name.clone());
        }
        let mut cells = vec![name.clone()];
        cells.extend([e.logits, e.loss, e.gradient, e.adapter, e.final_logits].map(|e| format!("{e:.1e}")));
        cells.extend([format!("{:.2}", e.seconds), word(args, wrong)]);
        table.row(&cells);
        found.push(json!({"model": name, "logits": e.logits, "loss": e.loss, "gradient": e.gradient,
            "adapter": e.adapter, "final_logits": e.final_logits, "seconds": e.seconds, "losses": e.losses}));
    }
    if found.is_empty() {
        bail!("'{}' holds no model that was asked for; it is to hold folders with a meta.json", folder.display());
    }
    Ok((table, found.into()))
}
