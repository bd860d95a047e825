//! `ft-eval choice`: which choice of a question the model holds likeliest.

mod ask;
mod tally;

use std::time::Instant;

use anyhow::{Result, bail};
use ft_cli::progress;
use ft_io::{Source, interrupt};
use ft_model::Architecture;
use ft_model::batch::{Batch, Sequence};
use ft_model::decoder::Decoder;
use ft_model::generate::Engine;
use ft_text::TextModel;
use serde_json::{Map, Value, json};

use crate::args::{ChoiceArgs, Format, source};
use crate::model::Model;
use crate::questions::Questions;
use crate::report::{Report, figure, peak, rate, table};
use ask::{Asked, Asker};
use tally::{Share, Tally};

pub fn run(args: &ChoiceArgs) -> Result<()> {
    let source = source(args.input.as_ref(), &args.model)?;
    let report = Report::open(args.model.report.as_ref(), None)?;
    let questions = Questions::read(&source, args.limit)?;
    let text = TextModel::open(&args.model.model)?;
    let asker = Asker::new(text, args.format, args.no_chat_template);
    let asked = asker.ask_all(&questions.list)?;
    let model = Model::open(&args.model)?;
    check_lengths(&asked, &questions, &model.arch)?;

    let started = Instant::now();
    let batch_size = args.model.batch_size as usize;
    let likelihoods = match args.format {
        Format::Letters => by_letters(model.decoder(), &asked, batch_size)?,
        Format::Text => by_text(&model.decoder(), &asked, batch_size)?,
    };
    let seconds = started.elapsed().as_secs_f64();
    let tally = Tally::new(&questions.list, &likelihoods, args.format);
    let tokens = asked.iter().map(|asked| asked.tokens(args.format)).sum();
    let mut figures = model.describe(&args.model);
    figures.insert("format".into(), json!(args.format.name()));
    figures.insert("chat_template".into(), json!(asker.uses_template()));
    figures.extend(summary(&source.name(), &tally, tokens, seconds));
    figures.extend(tally.as_lm_eval(args.task.as_deref(), &stem(&source)));
    report.write("choice", figures, &source, &questions.sha256)
}

/// Refuses questions that the model cannot take whole.
fn check_lengths(asked: &[Asked], questions: &Questions, arch: &Architecture) -> Result<()> {
    let mut most = 0;
    for (asked, question) in asked.iter().zip(&questions.list) {
        let longest = asked.choices.iter().map(Vec::len).max().unwrap_or(0);
        let length = asked.prompt.len() + longest;
        most = most.max(length);
        if let Some(limit) = arch.longest().filter(|limit| length > *limit) {
            bail!("{}: {length} tokens with its choices, but the model takes {limit}", question.place);
        }
    }
    if let Some(told) = arch.beyond(most) {
        tracing::warn!("{told}");
    }
    Ok(())
}

/// The logits of the choices' letters after the prompt: one forward a question.
fn by_letters(decoder: Decoder<'_>, asked: &[Asked], batch_size: usize) -> Result<Vec<Vec<f64>>> {
    let bar = progress(Some(asked.len() as u64), "questions");
    let engine = Engine::new(decoder);
    let mut all = Vec::with_capacity(asked.len());
    for some in asked.chunks(batch_size) {
        interrupt::check()?;
        let prompts: Vec<&[u32]> = some.iter().map(|asked| asked.prompt.as_slice()).collect();
        let logits = engine.last_logits(&prompts)?.to_vec2::<f32>()?;
        for (asked, row) in some.iter().zip(&logits) {
            // What turns logits into logarithms of probabilities is the same for all letters.
            all.push(asked.choices.iter().map(|letter| f64::from(row[letter[0] as usize])).collect());
        }
        bar.inc(some.len() as u64);
    }
    Ok(all)
}

/// The logarithm of the likelihood of each choice's text after the prompt.
fn by_text(decoder: &Decoder<'_>, asked: &[Asked], batch_size: usize) -> Result<Vec<Vec<f64>>> {
    let sequences: Vec<Sequence> = asked.iter().flat_map(Asked::sequences).collect();
    let bar = progress(Some(sequences.len() as u64), "choices");
    let mut likelihoods = Vec::with_capacity(sequences.len());
    for some in sequences.chunks(batch_size) {
        interrupt::check()?;
        likelihoods.extend(decoder.losses(&Batch::new(some))?.iter().map(|loss| -loss.sum));
        bar.inc(some.len() as u64);
    }
    let mut rest = likelihoods.into_iter();
    Ok(asked.iter().map(|asked| rest.by_ref().take(asked.choices.len()).collect()).collect())
}

/// The name of the questions' file, without what comes after the point.
fn stem(source: &Source) -> String {
    let stem = source.path().and_then(std::path::Path::file_stem);
    stem.map_or_else(|| "choice".into(), |stem| stem.to_string_lossy().into_owned())
}

fn summary(what: &str, tally: &Tally, tokens: usize, seconds: f64) -> Map<String, Value> {
    let all = &tally.all;
    let speed = rate(tokens, seconds);
    let said = |share: Share| format!("{:.2} % ± {:.2}", 100.0 * share.value(), 100.0 * share.standard_error());
    let mut rows = vec![("accuracy", said(all.plain))];
    rows.extend(all.by_length.map(|share| ("accuracy by length", said(share))));
    rows.extend([
        ("questions, tokens", format!("{}, {tokens}", all.plain.of)),
        ("tokens a second", format!("{speed:.0}")),
        ("peak memory", peak()),
    ]);
    table(what, &rows);
    let mut figures = Map::new();
    figures.insert("accuracy".into(), figure(all.plain.value()));
    figures.insert("accuracy_stderr".into(), figure(all.plain.standard_error()));
    if let Some(share) = all.by_length {
        figures.insert("accuracy_norm".into(), figure(share.value()));
        figures.insert("accuracy_norm_stderr".into(), figure(share.standard_error()));
    }
    figures.insert("questions".into(), json!(all.plain.of));
    figures.insert("correct".into(), json!(all.plain.right));
    figures.insert("tokens".into(), json!(tokens));
    figures.insert("seconds".into(), json!(seconds));
    figures.insert("tokens_per_second".into(), json!(speed));
    figures.insert("peak_memory_bytes".into(), json!(ft_kernels::memory::peak_rss_bytes()));
    figures
}
