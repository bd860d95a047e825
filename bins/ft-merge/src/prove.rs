//! `--prove`: whether what was written answers as base and adapter do.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ft_cli::Usage;
use ft_io::{AtomicFile, Source};
use ft_kernels::{Compute, Precision};
use ft_measure::{LabelledRows, LossSummary, Losses};
use ft_model::decoder::Decoder;
use ft_model::device::DeviceName;
use ft_model::generate::{Generator, Options};
use ft_model::layers::{self, LayerSource, Opened, WeightFormat};
use ft_model::{Adapter, Architecture, Checkpoint};
use serde_json::json;

use crate::adapters;
use crate::args::{Args, Dtype, Quantize, To};

/// The name of the figures in a folder.
pub const FIGURES: &str = "prove.json";
/// Rows at a time.
const BATCH: usize = 8;
/// Rows that are answered, and tokens of an answer.
const ANSWERS: usize = 16;
const TOKENS: usize = 32;

/// What one model makes of the rows.
struct Measured {
    loss: f64,
    labels: usize,
    answers: Vec<Vec<u32>>,
}

/// Measures the model that was written to `output` and base with adapter, and writes both into `table`.
pub fn run(args: &Args, output: &Path, table: &Path) -> Result<()> {
    let Some(rows) = &args.proving.prove else { return Ok(()) };
    let rows = LabelledRows::read(&Source::Path(rows.clone()), args.proving.prove_limit)?;
    let base = Checkpoint::open(&args.model)?;
    rows.check(base.architecture(), &args.model)?;
    let adapter = if args.adapters.is_empty() { None } else { Some(adapters::one(args, &base)?.0) };
    tracing::info!("proving on {} rows: base and adapter, then '{}'", rows.sequences.len(), output.display());
    let apart = measure(&base, adapter.as_ref(), &rows)?;
    drop(base);
    let written = measure(&Checkpoint::open(output)?, None, &rows)?;
    let bound = args.proving.prove_bound.unwrap_or_else(|| bound(args));
    let difference = (written.loss - apart.loss).abs() / apart.loss.abs().max(f64::MIN_POSITIVE);
    let same = apart.answers.iter().zip(&written.answers).filter(|(a, b)| a == b).count();
    let holds = difference <= bound;
    let told = json!({
        "rows": rows.sequences.len(), "rows_sha256": rows.sha256, "labels": apart.labels,
        "loss_of_base_and_adapter": apart.loss, "loss_of_result": written.loss,
        "relative_difference": difference, "bound": bound, "holds": holds,
        "answers": apart.answers.len(), "answers_that_are_the_same": same, "tokens_of_an_answer": TOKENS,
    });
    save(table, &format!("{told:#}\n"))?;
    tracing::info!(
        "proof: loss {:.5} of base and adapter, {:.5} of the result: {difference:.2e} apart, at most {bound:.0e}; {same} of {} answers are the same",
        apart.loss,
        written.loss,
        apart.answers.len(),
    );
    if !holds {
        bail!(
            "the proof failed: the result's loss is {:.5} on '{}', that of base and adapter {:.5}, which is {difference:.2e} apart, expected at most {bound:.0e}; '{}' is there to look into, with the figures in '{}'",
            written.loss,
            rows.name,
            apart.loss,
            output.display(),
            table.display()
        );
    }
    Ok(())
}

/// Fails early for what cannot be proved.
pub fn check(args: &Args) -> Result<()> {
    if args.proving.prove.is_none() {
        return Ok(());
    }
    if matches!(args.to, To::Adapter | To::GgufLora) {
        return Err(
            Usage("--prove is for merged models; an adapter's file holds the numbers as they were".into()).into()
        );
    }
    if args.adapters.iter().any(|adapter| adapter == "-") {
        return Err(
            Usage("--prove reads the adapter again, which a pipe does not give twice; name a file".into()).into()
        );
    }
    Ok(())
}

/// Where the figures of a file go.
pub fn beside(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".prove.json");
    name.into()
}

/// How far losses may be apart by the types that weights are rounded to: estimates from the types' steps, with room, not
/// figures measured over many models; `--prove-bound` takes another.
fn bound(args: &Args) -> f64 {
    match (args.to, args.quantize, args.dtype) {
        (To::Hf, _, Some(Dtype::F32)) | (_, Some(Quantize::F32), _) => 1e-4,
        (To::Hf, _, Some(Dtype::Bf16 | Dtype::F16)) | (_, Some(Quantize::F16 | Quantize::Bf16) | None, _) => 1e-2,
        (_, Some(Quantize::Q8_0), _) => 2e-2,
        (_, Some(Quantize::Q6K), _) => 3e-2,
        (_, Some(Quantize::Q5KM), _) => 5e-2,
        (_, Some(Quantize::Q4KM), _) => 1e-1,
        (_, Some(Quantize::Q4_0 | Quantize::Q4_1), _) => 1.5e-1,
    }
}

fn measure(model: &Checkpoint, adapter: Option<&Adapter>, rows: &LabelledRows) -> Result<Measured> {
    let device = candle_core::Device::Cpu;
    let compute = ft_model::device::compute(DeviceName::Cpu, &device, false, Precision::F32);
    let Opened { source, .. } = layers::open(model, WeightFormat::F32, (&device, None), |_| ())?;
    let arch = model.architecture();
    let mut losses = Vec::new();
    for some in Losses::new(decoder(compute, arch, &*source, adapter), rows, BATCH) {
        losses.extend(some?);
        if ft_io::interrupt::requested() {
            return Err(ft_io::Interrupted.into());
        }
    }
    let LossSummary { loss, labels, .. } = LossSummary::new(&losses);
    Ok(Measured { loss, labels, answers: answers(decoder(compute, arch, &*source, adapter), rows)? })
}

fn decoder<'a>(
    compute: Compute,
    arch: &'a Architecture,
    source: &'a dyn LayerSource,
    adapter: Option<&'a Adapter>,
) -> Decoder<'a> {
    Decoder { compute, arch, source, adapter }
}

/// Greedy answers to what stands before each row's first label.
fn answers(decoder: Decoder<'_>, rows: &LabelledRows) -> Result<Vec<Vec<u32>>> {
    let prompt = |row: &ft_model::batch::Sequence| {
        let first = row.labels.iter().position(|label| *label != ft_io::IGNORE_INDEX)?;
        (first > 0).then(|| row.input_ids[..first].to_vec())
    };
    let prompts: Vec<Vec<u32>> = rows.sequences.iter().filter_map(prompt).take(ANSWERS).collect();
    let options = Options { max_new_tokens: TOKENS, batch_size: BATCH, end_ids: decoder.arch.eos_token_ids.clone() };
    let mut answers = vec![Vec::new(); prompts.len()];
    let mut generator = Generator::new(decoder, &prompts, options)?;
    while !generator.is_done() {
        for answer in generator.step(&mut |_, logits| Ok(logits.argmax(0)?.to_scalar::<u32>()?))? {
            answers[answer.prompt] = answer.tokens;
        }
        if ft_io::interrupt::requested() {
            return Err(ft_io::Interrupted.into());
        }
    }
    Ok(answers)
}

fn save(path: &Path, text: &str) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    std::io::Write::write_all(&mut file, text.as_bytes())
        .with_context(|| format!("cannot write '{}'", path.display()))?;
    Ok(file.commit()?)
}
