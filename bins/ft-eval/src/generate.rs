//! `ft-eval generate`: answers to prompts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, ListBuilder, RecordBatch, StringArray, UInt32Array, UInt32Builder,
};
use arrow::datatypes::{DataType, Field};
use ft_cli::{progress, typed_arguments};
use ft_io::{InputDigest, Provenance, Source, Target, interrupt};
use ft_model::generate::{Answer, Generator, Options};
use ft_table::ParquetWriter;
use ft_text::{TextModel, Tokenizer};
use serde_json::{Map, Value, json};

use crate::args::{GenerateArgs, source, target};
use crate::data::check_origin;
use crate::model::Model;
use crate::prompts::Prompts;
use crate::report::{LEFT_OUT, Report, figure, peak, rate, table};
use crate::sampling::Sampler;
use crate::score::score;

/// An answer as text, held against its reference.
struct Prediction {
    text: String,
    tokens: Vec<u32>,
    ended: bool,
    /// Exact match and F1, where there is a reference.
    score: Option<(bool, f64)>,
}

pub fn run(args: &GenerateArgs) -> Result<()> {
    let source = source(args.input.as_ref(), &args.model)?;
    let rows = args.output.as_ref().map(|output| target(Some(output))).transpose()?;
    let report = Report::open(args.model.report.as_ref(), rows.as_ref())?;
    let prompts = Prompts::read(&source, args.limit)?;
    check_origin(&prompts.name, prompts.tokenizer.as_deref(), &args.model.model)?;
    let mut sampler = Sampler::new(args, prompts.ids.len())?;
    let text = TextModel::open(&args.model.model)?;
    let model = Model::open(&args.model)?;
    let options = Options {
        max_new_tokens: args.max_new_tokens as usize,
        batch_size: args.model.batch_size as usize,
        end_ids: text.end_ids.clone(),
    };

    let started = Instant::now();
    let generator = Generator::new(model.decoder(), &prompts.ids, options).with_context(|| prompts.name.clone())?;
    let answers = answers(generator, &mut sampler, prompts.ids.len())?;
    let seconds = started.elapsed().as_secs_f64();
    let predictions = predictions(answers, &prompts, &text)?;
    if let Some(target) = rows {
        write_rows(&target, &predictions, &prompts, &text.tokenizer, &source)?;
    }
    let mut figures = model.describe(&args.model);
    figures.extend(summary(&prompts.name, &predictions, seconds));
    report.write("generate", figures, &source, &prompts.sha256)
}

/// The answers of all prompts, in their order.
fn answers(mut generator: Generator<'_>, sampler: &mut Sampler, prompts: usize) -> Result<Vec<Answer>> {
    let bar = progress(Some(prompts as u64), "answering");
    let mut answers = Vec::with_capacity(prompts);
    while !generator.is_done() {
        interrupt::check()?;
        let finished = generator.step(&mut |row, logits| sampler.choose(row, logits))?;
        bar.inc(finished.len() as u64);
        answers.extend(finished);
    }
    answers.sort_by_key(|answer| answer.prompt);
    Ok(answers)
}

fn predictions(answers: Vec<Answer>, prompts: &Prompts, text: &TextModel) -> Result<Vec<Prediction>> {
    let prediction = |(answer, reference): (Answer, &Option<String>)| {
        let said = decode(&text.tokenizer, &answer.tokens, true)?;
        let score = reference.as_ref().map(|reference| score(&said, reference));
        Ok(Prediction { text: said, tokens: answer.tokens, ended: answer.ended, score })
    };
    answers.into_iter().zip(&prompts.references).map(prediction).collect()
}

fn decode(tokenizer: &Tokenizer, ids: &[u32], skip_special: bool) -> Result<String> {
    tokenizer.decode(ids, skip_special).map_err(|error| anyhow!("tokens cannot be turned into text: {error}"))
}

fn summary(what: &str, predictions: &[Prediction], seconds: f64) -> Map<String, Value> {
    let scores: Vec<(bool, f64)> = predictions.iter().filter_map(|p| p.score).collect();
    let mean = |sum: f64| sum / scores.len() as f64;
    let exact = mean(scores.iter().filter(|(exact, _)| *exact).count() as f64);
    let f1 = mean(scores.iter().map(|(_, f1)| f1).sum());
    let tokens: usize = predictions.iter().map(|p| p.tokens.len()).sum();
    let ended = predictions.iter().filter(|p| p.ended).count();
    let speed = rate(tokens, seconds);
    let share = |value: f64| if value.is_nan() { "no references".into() } else { format!("{:.2} %", 100.0 * value) };
    table(
        what,
        &[
            ("exact match", share(exact)),
            ("F1", share(f1)),
            ("answers, with a reference, ended", format!("{}, {}, {ended}", predictions.len(), scores.len())),
            ("new tokens", tokens.to_string()),
            ("new tokens a second", format!("{speed:.0}")),
            ("peak memory", peak()),
        ],
    );
    let figures = json!({
        "exact_match": figure(exact),
        "f1": figure(f1),
        "rows": predictions.len(),
        "references": scores.len(),
        "ended": ended,
        "tokens": tokens,
        "seconds": seconds,
        "tokens_per_second": speed,
        "peak_memory_bytes": ft_kernels::memory::peak_rss_bytes(),
    });
    figures.as_object().cloned().unwrap_or_default()
}

/// A Parquet row an answer.
fn write_rows(
    target: &Target,
    predictions: &[Prediction],
    prompts: &Prompts,
    tokenizer: &Tokenizer,
    source: &Source,
) -> Result<()> {
    let prompt = |(text, ids): (&Option<String>, &Vec<u32>)| match text {
        Some(text) => Ok(text.clone()),
        None => decode(tokenizer, ids, false),
    };
    let texts: Vec<String> = prompts.texts.iter().zip(&prompts.ids).map(prompt).collect::<Result<_>>()?;
    let item = Field::new_list_field(DataType::UInt32, false);
    let mut ids = ListBuilder::new(UInt32Builder::new()).with_field(item);
    for prediction in predictions {
        ids.values().append_slice(&prediction.tokens);
        ids.append(true);
    }
    let all = || predictions.iter();
    let columns: [(&str, ArrayRef, bool); 8] = [
        ("prompt", Arc::new(StringArray::from_iter_values(texts)), false),
        ("prediction", Arc::new(StringArray::from_iter_values(all().map(|p| &p.text))), false),
        ("reference", Arc::new(StringArray::from_iter(&prompts.references)), true),
        ("exact_match", Arc::new(all().map(|p| p.score.map(|s| s.0)).collect::<BooleanArray>()), true),
        ("f1", Arc::new(all().map(|p| p.score.map(|s| s.1)).collect::<Float64Array>()), true),
        ("tokens", Arc::new(UInt32Array::from_iter_values(all().map(|p| p.tokens.len() as u32))), false),
        ("ended", Arc::new(all().map(|p| Some(p.ended)).collect::<BooleanArray>()), false),
        ("output_ids", Arc::new(ids.finish()), false),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns)?;
    let provenance = Provenance {
        tool: "ft-eval".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        arguments: typed_arguments(&LEFT_OUT, &[source]),
        inputs: vec![InputDigest { name: source.file_name(), sha256: prompts.sha256.clone() }],
        extra: BTreeMap::new(),
    };
    let mut writer = ParquetWriter::create(target, batch.schema(), &provenance.to_pairs())?;
    writer.write(&batch)?;
    Ok(writer.finish()?)
}
