//! `ft-eval loss`: how well the model foretells labelled tokens.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt32Array, UInt64Array};
use ft_cli::progress;
use ft_io::{Source, Target, interrupt};
use ft_measure::{LabelledRows, LossSummary, Losses};
use ft_model::head::SequenceLoss;
use serde_json::{Map, Value, json};

use crate::args::{LossArgs, inputs, source, target};
use crate::interrupted::interrupted;
use crate::model::Model;
use crate::report::{Report, figure, peak, rate, table};
use crate::row_file;

pub fn run(args: &LossArgs) -> Result<()> {
    let source = source(args.input.as_ref(), &args.model)?;
    let rows = args.per_example.then(|| target(args.output.as_ref())).transpose()?;
    let report = Report::open(args.model.report.as_ref(), rows.as_ref(), inputs(&source, &args.model))?;
    let data = LabelledRows::read(&source, args.limit)?;
    let model = Model::open_typed(&args.model)?;
    data.check(&model.arch, &args.model.model)?;
    model.check_template(&data.name, data.template.as_deref());

    let started = Instant::now();
    let losses = losses(Losses::new(model.decoder(), &data, args.model.held.batch_size as usize), &data)?;
    let seconds = started.elapsed().as_secs_f64();
    let (done, all) = (losses.len(), data.sequences.len());
    let rows = rows.filter(|_| done > 0);
    if let Some(target) = &rows {
        write_rows(target, &losses, &data, &source)?;
    }
    if done < all {
        return Err(interrupted(rows.map(|target| target.name()), done, all));
    }
    let mut figures = model.describe(&args.model.held);
    figures.extend(summary(&losses, &data, seconds));
    report.write_of("loss", figures, &source, &data.sha256)
}

/// The losses of all rows, in their order; of the first ones after a signal.
pub fn losses(batches: Losses<'_>, data: &LabelledRows) -> Result<Vec<SequenceLoss>> {
    let bar = progress(Some(data.sequences.len() as u64), "evaluating");
    let mut losses = Vec::with_capacity(data.sequences.len());
    for some in batches {
        let some = some?;
        bar.inc(some.len() as u64);
        losses.extend(some);
        if interrupt::requested() {
            break;
        }
    }
    Ok(losses)
}

fn summary(losses: &[SequenceLoss], data: &LabelledRows, seconds: f64) -> Map<String, Value> {
    let what = &data.name;
    let all = LossSummary::new(losses);
    let LossSummary { loss, accuracy, labels } = all;
    let tokens = data.tokens();
    let speed = rate(tokens, seconds);
    table(
        what,
        &[
            ("loss", format!("{loss:.4}")),
            ("perplexity", format!("{:.3}", all.perplexity())),
            ("mean token accuracy", format!("{:.2} %", 100.0 * accuracy)),
            ("rows, tokens, labels", format!("{}, {tokens}, {labels}", losses.len())),
            ("tokens a second", format!("{speed:.0}")),
            ("peak memory", peak()),
        ],
    );
    let figures = json!({
        "loss": figure(loss),
        "perplexity": figure(all.perplexity()),
        "mean_token_accuracy": figure(accuracy),
        "rows": losses.len(),
        "tokens": tokens,
        "labels": labels,
        "seconds": seconds,
        "tokens_per_second": speed,
        "peak_memory_bytes": ft_kernels::memory::peak_rss_bytes(),
    });
    figures.as_object().cloned().unwrap_or_default()
}

/// A Parquet row a row: its number, the mean loss of its labels (null without any), their number, how many were
/// the likeliest token, and the id by which runs over the same rows are compared.
fn write_rows(target: &Target, losses: &[SequenceLoss], data: &LabelledRows, source: &Source) -> Result<()> {
    let mean = |loss: &SequenceLoss| (loss.labels > 0).then(|| loss.sum / loss.labels as f64);
    let columns: [(&str, ArrayRef, bool); 5] = [
        ("row", Arc::new(UInt64Array::from_iter_values(1..=losses.len() as u64)), false),
        ("loss", Arc::new(losses.iter().map(mean).collect::<Float64Array>()), true),
        ("labels", Arc::new(UInt32Array::from_iter_values(losses.iter().map(|l| l.labels as u32))), false),
        ("correct", Arc::new(UInt32Array::from_iter_values(losses.iter().map(|l| l.correct as u32))), false),
        ("row_id", Arc::new(StringArray::from_iter_values((0..losses.len()).map(|i| data.row_id(i)))), false),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns)?;
    row_file::write(target, &batch, data.sequences.len(), source, &data.sha256)
}
