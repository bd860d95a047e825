//! Real generation: prompts of random tokens, read and answered greedily.

use std::time::Instant;

use anyhow::{Result, bail};
use ft_cli::Usage;
use ft_kernels::philox::Stream;
use ft_kernels::tensor::with_slice;
use ft_kernels::{Compute, Precision};
use ft_model::decoder::Decoder;
use ft_model::generate::{Generator, Options};
use ft_model::layers::{self, LayerSource};
use ft_model::{Architecture, Checkpoint};
use ft_plot::{Bar, Panel, figure};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::args::GenerateArgs;
use crate::bounds::{self, product};
use crate::report::{Report, median};
use crate::table::Table;
use crate::{flops, machine, matmul};

/// The random stream of the prompts.
const PROMPTS: u32 = 0x200;
/// Measurements of each product that the rates are held against.
const REPEATS: usize = 3;
const MEGABYTE: f64 = 1e6;

/// What one batch size took.
#[derive(Debug, Serialize)]
struct Measured {
    batch_size: usize,
    /// Reading the prompts and giving the first tokens, of each repeat.
    prefill_seconds: Vec<f64>,
    /// All the other tokens, of each repeat.
    decode_seconds: Vec<f64>,
    prefill_tokens_per_second: f64,
    decode_tokens_per_second: f64,
    prefill_gflops: f64,
    decode_gflops: f64,
}

/// What the whole run found.
struct GenerationTimes {
    /// From the program's start to the first batch's.
    to_first_step: f64,
    /// And to the first token of the first batch.
    to_first_token: f64,
    batches: Vec<Measured>,
    peak_bytes: Option<u64>,
}

/// `ft-bench generate`
pub fn run(args: &GenerateArgs, threads: usize, started: Instant) -> Result<Report> {
    let device = ft_model::device::named(args.device.device)?;
    let compute =
        ft_model::device::compute(args.device.device, &device, args.device.reference_operators, Precision::F32);
    let checkpoint = Checkpoint::open(&args.model)?;
    let arch = checkpoint.architecture().clone();
    let (needed, room) = (args.prompt_len + args.max_new_tokens, arch.max_position_embeddings);
    if needed > room {
        bail!(Usage(format!(
            "--prompt-len and --max-new-tokens make {needed} tokens, but '{}' takes {room}",
            args.model.display()
        )));
    }
    let most = args.batch_sizes.iter().max().copied().unwrap_or(1);
    let asked = format!("--batch-sizes {most} × ({} + {}) tokens", args.prompt_len, args.max_new_tokens);
    // Keys and values of every layer.
    let cached = product(&[most, needed, arch.num_layers, arch.key_columns(), 2 * size_of::<f32>()]);
    bounds::require_memory(&asked, cached)?;
    matmul::require_memory(&arch, most * args.prompt_len, &asked)?;
    let bar = ft_cli::progress(Some(arch.num_layers as u64), "loading");
    let held = args.load_in.with_four_bit(args.four_bit.bnb_4bit_quant_type, args.four_bit.bnb_4bit_use_double_quant);
    let source = layers::open(&checkpoint, held, (&device, None), |_| bar.inc(1))?.source;
    bar.finish();
    let found = batches(args, compute, &arch, source.as_ref(), started)?;
    let bar = ft_cli::progress(None, "the best product");
    let longest = args.batch_sizes.iter().max().copied().unwrap_or(1) * args.prompt_len;
    let (product, best) = matmul::best(&arch, longest, REPEATS)?;
    bar.finish();
    Ok(report(args, threads, &arch, &found, (product.name, best)))
}

/// Measures every batch size, and notes the memory before anything else is measured.
fn batches(
    args: &GenerateArgs,
    compute: Compute,
    arch: &Architecture,
    source: &dyn LayerSource,
    started: Instant,
) -> Result<GenerationTimes> {
    let to_first_step = started.elapsed().as_secs_f64();
    let mut to_first_token = None;
    let mut batches = Vec::new();
    let bar = ft_cli::progress(Some((args.batch_sizes.len() as u64).saturating_mul(args.repeats as u64)), "generating");
    for &batch_size in &args.batch_sizes {
        let prompts = prompts(args, arch.vocab_size, batch_size);
        let (mut prefill, mut decode) = (Vec::new(), Vec::new());
        for _ in 0..args.repeats {
            let decoder = Decoder { compute, arch, source, adapter: None };
            let (reading, answering) = generate(decoder, &prompts, args.max_new_tokens)?;
            to_first_token.get_or_insert(to_first_step + reading);
            prefill.push(reading);
            decode.push(answering);
            bar.inc(1);
        }
        batches.push(measured(args, arch, batch_size, prefill, decode));
    }
    bar.finish();
    let to_first_token = to_first_token.unwrap_or(to_first_step);
    Ok(GenerationTimes {
        to_first_step,
        to_first_token,
        batches,
        peak_bytes: ft_model::device::peak_bytes(source.device()),
    })
}

fn measured(args: &GenerateArgs, arch: &Architecture, n: usize, prefill: Vec<f64>, decode: Vec<f64>) -> Measured {
    let (reading, answering) = (median(&prefill), median(&decode));
    // The prompts' last logits give the first token of each answer.
    let steps = args.max_new_tokens - 1;
    let measured = Measured {
        batch_size: n,
        prefill_tokens_per_second: (n * args.prompt_len) as f64 / reading,
        decode_tokens_per_second: (n * steps) as f64 / answering,
        prefill_gflops: flops::prefill(arch, n, args.prompt_len) / reading / 1e9,
        decode_gflops: flops::decode(arch, n, args.prompt_len, steps) / answering / 1e9,
        prefill_seconds: prefill,
        decode_seconds: decode,
    };
    tracing::info!(
        "batch {n}: prefill {:.0} tokens/s, decode {:.1} tokens/s",
        measured.prefill_tokens_per_second,
        measured.decode_tokens_per_second
    );
    measured
}

/// Answers all prompts at once; the seconds until each has its first token, and from there to the last.
fn generate(decoder: Decoder<'_>, prompts: &[Vec<u32>], max_new_tokens: usize) -> Result<(f64, f64)> {
    // No token ends an answer, so all are of one length.
    let options = Options { max_new_tokens, batch_size: prompts.len(), end_ids: Vec::new() };
    let mut generator = Generator::new(decoder, prompts, options)?;
    let mut choose = |_: usize, logits: &candle_core::Tensor| Ok(with_slice(logits, likeliest)?);
    let started = Instant::now();
    let mut answers = generator.step(&mut choose)?;
    let reading = started.elapsed().as_secs_f64();
    while !generator.is_done() {
        ft_io::interrupt::check()?;
        answers.extend(generator.step(&mut choose)?);
    }
    let tokens: usize = answers.iter().map(|answer| answer.tokens.len()).sum();
    if tokens != prompts.len() * max_new_tokens {
        bail!("{tokens} tokens were generated, expected {} for each of {} prompts", max_new_tokens, prompts.len());
    }
    Ok((reading, started.elapsed().as_secs_f64() - reading))
}

/// The first of the largest logits.
fn likeliest(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (i, x) in logits.iter().enumerate() {
        if *x > logits[best] {
            best = i;
        }
    }
    best as u32
}

fn prompts(args: &GenerateArgs, vocabulary: usize, count: usize) -> Vec<Vec<u32>> {
    let prompt = |row: usize| {
        let stream = Stream::new(args.seed, PROMPTS, row as u64);
        (0..args.prompt_len as u64).map(|i| stream.below(i, vocabulary as u64) as u32).collect()
    };
    (0..count).map(prompt).collect()
}

fn report(
    args: &GenerateArgs,
    threads: usize,
    arch: &Architecture,
    found: &GenerationTimes,
    (product, best): (&str, f64),
) -> Report {
    let mut table =
        Table::new(&["batch", "prefill tokens/s", "GFLOP/s", "share", "decode tokens/s", "GFLOP/s", "share"]);
    let share = |gflops: f64| format!("{:.1} %", 100.0 * gflops / best);
    let (mut prefill, mut decode) = (Vec::new(), Vec::new());
    for m in &found.batches {
        table.row(&[
            m.batch_size.to_string(),
            figure(m.prefill_tokens_per_second),
            figure(m.prefill_gflops),
            share(m.prefill_gflops),
            figure(m.decode_tokens_per_second),
            figure(m.decode_gflops),
            share(m.decode_gflops),
        ]);
        let bar = |value| Bar { label: format!("batch of {}", m.batch_size), series: String::new(), value };
        prefill.push(bar(m.prefill_tokens_per_second));
        decode.push(bar(m.decode_tokens_per_second));
    }
    let peak = found.peak_bytes.map_or_else(|| "unknown".into(), |bytes| format!("{:.0} MB", bytes as f64 / MEGABYTE));
    Report {
        benchmark: "generate",
        machine: machine::describe(threads),
        figures: figures(args, arch, found, (product, best)),
        tables: vec![table],
        notes: vec![
            format!("prompts of {} tokens, answers of {}", args.prompt_len, args.max_new_tokens),
            format!("best product ({product}): {} GFLOP/s", figure(best)),
            format!(
                "time to the first step {:.2} s, to the first token {:.2} s",
                found.to_first_step, found.to_first_token
            ),
            format!("peak memory {peak}"),
        ],
        panels: vec![
            Panel { title: "reading prompts, tokens/s".into(), bars: prefill },
            Panel { title: "answering, tokens/s".into(), bars: decode },
        ],
        scatter: None,
    }
}

fn figures(
    args: &GenerateArgs,
    arch: &Architecture,
    found: &GenerationTimes,
    (product, best): (&str, f64),
) -> Map<String, Value> {
    let all = json!({
        "model": ft_io::model_name(&args.model),
        "parameters": arch.parameters(),
        "load_in": args.load_in.name(),
        "prompt_len": args.prompt_len,
        "max_new_tokens": args.max_new_tokens,
        "repeats": args.repeats,
        "batches": found.batches,
        "best_product": product,
        "best_product_gflops": best,
        "peak_memory_bytes": found.peak_bytes,
        "seconds_to_first_step": found.to_first_step,
        "seconds_to_first_token": found.to_first_token,
    });
    all.as_object().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::likeliest;

    #[test]
    fn the_likeliest_token_is_the_first_of_the_largest() {
        assert_eq!(likeliest(&[0.5, 2.0, -1.0, 2.0]), 1);
    }
}
