//! `ft-eval generate`: answers to prompts.

use std::time::Instant;

use anyhow::{Error, Result};
use ft_cli::progress;
use ft_io::interrupt;
use ft_measure::{AnswerSummary, Answers, DEFAULT_NEW_TOKENS, Prediction, Prompts, Sampler, check_tokenizer};
use ft_model::generate::Options;
use ft_text::TextModel;
use serde_json::{Map, Value, json};

use crate::answer_file::AnswerFile;
use crate::args::{GenerateArgs, inputs, source, target};
use crate::chosen::Chosen;
use crate::interrupted::interrupted;
use crate::model::Model;
use crate::report::{Report, figure, peak, rate, table};

pub fn run(args: &GenerateArgs) -> Result<()> {
    let source = source(args.input.as_ref(), &args.model)?;
    let output = args.output.as_ref().map(|output| target(Some(output))).transpose()?;
    let text = TextModel::open(&args.model.model)?;
    let chosen = Chosen::new(&args.sampling, &args.model.model, &text, false)?;
    chosen.check_samples(args.num_return_sequences)?;
    let report = Report::open(args.model.report.as_ref(), output.as_ref(), inputs(&source, &args.model))?;
    let samples = args.num_return_sequences as usize;
    let prompts = Prompts::read(&source, args.limit)?.repeated(samples);
    check_tokenizer(&prompts.name, prompts.tokenizer.as_deref(), &args.model.model)?;
    let model = Model::open_typed(&args.model)?;
    model.check_template(&prompts.name, prompts.template.as_deref());
    let options = Options {
        max_new_tokens: args.max_new_tokens.or(chosen.max_new_tokens).unwrap_or(DEFAULT_NEW_TOKENS) as usize,
        batch_size: args.model.held.batch_size as usize,
        end_ids: [model.end_ids(&text), chosen.stop_ids].concat(),
    };
    let sampler = Sampler::new(chosen.sampling, args.sampling.seed, &prompts.ids, samples);
    let answers = Answers::new(model.decoder(), &prompts, &text.tokenizer, (sampler, &chosen.stops), options)?;
    let file = output.map(|target| AnswerFile::create(target, &prompts, &text.tokenizer, &source)).transpose()?;

    let started = Instant::now();
    let predictions = answer(answers, &prompts, file)?;
    let seconds = started.elapsed().as_secs_f64();
    let summary = AnswerSummary::new(&prompts, &predictions);
    say(&prompts.name, &summary, seconds);
    let mut told = model.describe(&args.model.held);
    told.extend(figures(&summary, seconds));
    report.write_of("generate", told, &source, &prompts.sha256)
}

/// The answers of all prompts, in their order, each written to `file` as soon as those before it are; after a signal
/// the file is ended with what there is.
pub fn answer(answers: Answers<'_>, prompts: &Prompts, mut file: Option<AnswerFile<'_>>) -> Result<Vec<Prediction>> {
    let bar = progress(Some(prompts.ids.len() as u64), "answering");
    let mut done: Vec<Option<Prediction>> = vec![None; prompts.ids.len()];
    for finished in answers {
        let finished = finished?;
        bar.inc(finished.len() as u64);
        for prediction in finished {
            let place = prediction.prompt;
            done[place] = Some(prediction);
        }
        if let Some(file) = &mut file {
            file.write_ready(&done)?;
        }
        if interrupt::requested() {
            return Err(keep(&done, file));
        }
    }
    if let Some(file) = file {
        file.finish(&done)?;
    }
    Ok(done.into_iter().flatten().collect())
}

/// Keeps the answers that are done; the error that ends the program.
fn keep(done: &[Option<Prediction>], file: Option<AnswerFile<'_>>) -> Error {
    let count = done.iter().flatten().count();
    let file = file.filter(|_| count > 0);
    let name = file.as_ref().map(AnswerFile::name);
    match file.map_or(Ok(()), |file| file.finish(done)) {
        Ok(()) => interrupted(name, count, done.len()),
        Err(error) => error,
    }
}

fn say(what: &str, all: &AnswerSummary, seconds: f64) {
    let speed = rate(all.tokens, seconds);
    let share = |value: f64| if value.is_nan() { "no references".into() } else { format!("{:.2} %", 100.0 * value) };
    table(
        what,
        &[
            ("exact match", share(all.exact_match)),
            ("F1", share(all.f1)),
            ("ROUGE-L", share(all.rouge_l)),
            ("BLEU", if all.bleu.is_nan() { "no references".into() } else { format!("{:.2}", all.bleu) }),
            ("answers, with a reference, ended", format!("{}, {}, {}", all.answers, all.references, all.ended)),
            ("new tokens", all.tokens.to_string()),
            ("new tokens a second", format!("{speed:.0}")),
            ("peak memory", peak()),
        ],
    );
}

/// What a report says of answers that took `seconds`.
pub fn figures(all: &AnswerSummary, seconds: f64) -> Map<String, Value> {
    let figures = json!({
        "exact_match": figure(all.exact_match),
        "f1": figure(all.f1),
        "rouge_l": figure(all.rouge_l),
        "bleu": figure(all.bleu),
        "rows": all.answers,
        "references": all.references,
        "ended": all.ended,
        "tokens": all.tokens,
        "seconds": seconds,
        "tokens_per_second": rate(all.tokens, seconds),
        "peak_memory_bytes": ft_kernels::memory::peak_rss_bytes(),
    });
    figures.as_object().cloned().unwrap_or_default()
}
