//! `ft-eval choice`: which choice of a question the model holds likeliest.

use std::time::Instant;

use anyhow::{Result, bail};
use ft_cli::{Usage, progress};
use ft_io::{Source, interrupt};
use ft_measure::{Asked, Asker, Format, Likelihoods, Outcome, Question, Questions, Share, Shots, Tally};
use ft_model::Architecture;
use ft_text::TextModel;
use serde_json::{Map, Value, json};

use crate::args::{ChoiceArgs, inputs, source, target};
use crate::choice_file;
use crate::interrupted::interrupted;
use crate::lm_eval;
use crate::model::Model;
use crate::report::{Report, figure, peak, rate, table};
use crate::row_file;

pub fn run(args: &ChoiceArgs) -> Result<()> {
    let source = source(args.input.as_ref(), &args.model)?;
    let output = args.output.as_ref().map(|output| target(Some(output))).transpose()?;
    let mut files = inputs(&source, &args.model);
    if let Some(path) = &args.fewshot {
        files.input("--fewshot", &Source::Path(path.clone()));
    }
    let report = Report::open(args.model.report.as_ref(), output.as_ref(), files)?;
    let format: Format = args.format.into();
    if args.num_fewshot > 0 && !format.is_task() {
        let told = "--num-fewshot is for the formats of lm-eval's tasks, such as --format mmlu";
        return Err(Usage(told.into()).into());
    }
    let questions = Questions::read(&source, format, args.limit)?;
    let mut shots = shots(args, format, &questions)?;
    let text = TextModel::open(&args.model.model)?;
    let asker = Asker::new(text, format, args.no_chat_template);
    let asked = asker.ask_all(&questions.list, shots.as_mut())?;
    let model = Model::open_typed(&args.model)?;
    model.check_template("the questions", asker.template().as_deref());
    check_lengths(&asked, &questions, &model.arch)?;

    let started = Instant::now();
    let batch_size = args.model.held.batch_size as usize;
    let likelihoods = likelihoods(Likelihoods::new(model.decoder(), &asked, format, batch_size), asked.len())?;
    let seconds = started.elapsed().as_secs_f64();
    let (done, all) = (likelihoods.len(), asked.len());
    let outcomes = outcomes(&questions.list, &likelihoods, format);
    let output = output.filter(|_| done > 0);
    if let Some(target) = &output {
        let rows = choice_file::rows(&questions.list, &likelihoods, &outcomes)?;
        row_file::write(target, &rows, all, &source, &questions.sha256)?;
    }
    if done < all {
        return Err(interrupted(output.map(|target| target.name()), done, all));
    }
    let tally = Tally::new(&questions.list, &outcomes);
    let tokens = asked.iter().map(|asked| asked.tokens(format)).sum();
    let mut figures = model.describe(&args.model.held);
    figures.insert("format".into(), json!(format.name()));
    figures.insert("num_fewshot".into(), json!(args.num_fewshot));
    figures.insert("chat_template".into(), json!(asker.uses_template()));
    figures.extend(summary(&source.name(), &tally, tokens, seconds));
    figures.extend(lm_eval::results(&tally, args.task.as_deref(), &stem(&source)));
    report.write_of("choice", figures, &source, &questions.sha256)
}

/// The examples that stand before each question, if any do.
fn shots(args: &ChoiceArgs, format: Format, questions: &Questions) -> Result<Option<Shots>> {
    let Some(path) = args.fewshot.as_ref().filter(|_| args.num_fewshot > 0) else { return Ok(None) };
    let source = Source::Path(path.clone());
    let pool = Questions::read(&source, format, None)?;
    let shots = Shots::new(pool, source.name(), args.num_fewshot as usize, args.shot_sampler());
    Ok(Some(shots.of_questions(questions)))
}

/// How the first questions were answered, of which the `likelihoods` are.
pub fn outcomes(questions: &[Question], likelihoods: &[Vec<f64>], format: Format) -> Vec<Outcome> {
    questions.iter().zip(likelihoods).map(|(question, of)| Outcome::new(question, of, format)).collect()
}

/// Refuses questions that the model cannot take whole.
pub fn check_lengths(asked: &[Asked], questions: &Questions, arch: &Architecture) -> Result<()> {
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

/// The likelihoods of all questions' choices, in the questions' order; of the first ones after a signal.
pub fn likelihoods(batches: Likelihoods<'_>, questions: usize) -> Result<Vec<Vec<f64>>> {
    let bar = progress(Some(questions as u64), "questions");
    let mut all = Vec::with_capacity(questions);
    for some in batches {
        let some = some?;
        bar.inc(some.len() as u64);
        all.extend(some);
        if interrupt::requested() {
            break;
        }
    }
    Ok(all)
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
