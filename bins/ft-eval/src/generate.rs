//! `ft-eval generate`: answers to prompts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, anyhow};
use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, ListBuilder, RecordBatch, StringArray, UInt32Array, UInt32Builder,
};
use arrow::datatypes::{DataType, Field};
use ft_cli::{progress, typed_arguments};
use ft_io::{InputDigest, Provenance, Source, Target, interrupt};
use ft_measure::{AnswerSummary, Answers, Prediction, Prompts, Sampler, check_tokenizer};
use ft_model::generate::Options;
use ft_table::ParquetWriter;
use ft_text::{TextModel, Tokenizer};
use serde_json::{Map, Value, json};

use crate::args::{GenerateArgs, sampling, source, target};
use crate::model::Model;
use crate::report::{LEFT_OUT, Report, figure, peak, rate, table};

pub fn run(args: &GenerateArgs) -> Result<()> {
    let sampling = sampling(args)?;
    let source = source(args.input.as_ref(), &args.model)?;
    let rows = args.output.as_ref().map(|output| target(Some(output))).transpose()?;
    let report = Report::open(args.model.report.as_ref(), rows.as_ref())?;
    let prompts = Prompts::read(&source, args.limit)?;
    check_tokenizer(&prompts.name, prompts.tokenizer.as_deref(), &args.model.model)?;
    let text = TextModel::open(&args.model.model)?;
    let model = Model::open(&args.model)?;
    let options = Options {
        max_new_tokens: args.max_new_tokens as usize,
        batch_size: args.model.batch_size as usize,
        end_ids: text.end_ids.clone(),
    };

    let started = Instant::now();
    let sampler = Sampler::new(&sampling, args.seed, prompts.ids.len());
    let predictions = answer(Answers::new(model.decoder(), &prompts, &text.tokenizer, sampler, options)?, &prompts)?;
    let seconds = started.elapsed().as_secs_f64();
    if let Some(target) = rows {
        write_rows(&target, &predictions, &prompts, &text.tokenizer, &source)?;
    }
    let mut figures = model.describe(&args.model);
    figures.extend(summary(&prompts.name, &AnswerSummary::new(&predictions), seconds));
    report.write("generate", figures, &source, &prompts.sha256)
}

/// The answers of all prompts, in their order.
fn answer(answers: Answers<'_>, prompts: &Prompts) -> Result<Vec<Prediction>> {
    let bar = progress(Some(prompts.ids.len() as u64), "answering");
    let mut predictions = Vec::with_capacity(prompts.ids.len());
    for finished in answers {
        interrupt::check()?;
        let finished = finished?;
        bar.inc(finished.len() as u64);
        predictions.extend(finished);
    }
    predictions.sort_by_key(|prediction| prediction.prompt);
    Ok(predictions)
}

fn decode(tokenizer: &Tokenizer, ids: &[u32]) -> Result<String> {
    tokenizer.decode(ids, false).map_err(|error| anyhow!("tokens cannot be turned into text: {error}"))
}

fn summary(what: &str, all: &AnswerSummary, seconds: f64) -> Map<String, Value> {
    let speed = rate(all.tokens, seconds);
    let share = |value: f64| if value.is_nan() { "no references".into() } else { format!("{:.2} %", 100.0 * value) };
    table(
        what,
        &[
            ("exact match", share(all.exact_match)),
            ("F1", share(all.f1)),
            ("answers, with a reference, ended", format!("{}, {}, {}", all.answers, all.references, all.ended)),
            ("new tokens", all.tokens.to_string()),
            ("new tokens a second", format!("{speed:.0}")),
            ("peak memory", peak()),
        ],
    );
    let figures = json!({
        "exact_match": figure(all.exact_match),
        "f1": figure(all.f1),
        "rows": all.answers,
        "references": all.references,
        "ended": all.ended,
        "tokens": all.tokens,
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
        None => decode(tokenizer, ids),
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
