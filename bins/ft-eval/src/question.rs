//! `ft-eval generate --prompt`: one question, answered on standard output.

use std::io::Write;
use std::time::Instant;

use anyhow::Result;
use ft_io::output::listing;
use ft_io::{Distinct, Source};
use ft_measure::{AnswerSummary, Answers, DEFAULT_NEW_TOKENS, Prompts, Sampler, Speaker};
use ft_model::generate::Options;
use ft_text::{Message, TextModel};

use crate::args::GenerateArgs;
use crate::chosen::Chosen;
use crate::generate::{answer, figures};
use crate::model::Model;
use crate::report::Report;

/// What stands between several answers.
const BETWEEN: &str = "---\n";

pub fn run(args: &GenerateArgs, question: &str) -> Result<()> {
    let report = args.model.report.as_ref().map(|path| Report::open(Some(path), None, files(args))).transpose()?;
    let text = TextModel::open(&args.model.model)?;
    let chosen = Chosen::new(&args.sampling, &args.model.model, &text, true)?;
    chosen.check_samples(args.num_return_sequences)?;
    let model = Model::open_typed(&args.model)?;
    let speaker = Speaker::new(text, model.form(), args.system.as_deref())?;
    let (rendered, ids) = speaker.prompt(&[Message::new("user", question)])?;
    let samples = args.num_return_sequences as usize;
    let prompts = Prompts::of_question(rendered, ids).repeated(samples);
    let options = Options {
        max_new_tokens: args.max_new_tokens.or(chosen.max_new_tokens).unwrap_or(DEFAULT_NEW_TOKENS) as usize,
        batch_size: args.model.held.batch_size as usize,
        end_ids: [&speaker.text().end_ids[..], &chosen.stop_ids].concat(),
    };
    let sampler = Sampler::new(chosen.sampling, args.sampling.seed, &prompts.ids, samples);
    let tokenizer = &speaker.text().tokenizer;
    let answers = Answers::new(model.decoder(), &prompts, tokenizer, (sampler, &chosen.stops), options)?;

    let started = Instant::now();
    let predictions = answer(answers, &prompts, None)?;
    let seconds = started.elapsed().as_secs_f64();
    let mut out = listing();
    for (i, prediction) in predictions.iter().enumerate() {
        let between = if i == 0 { "" } else { BETWEEN };
        writeln!(out, "{between}{}", prediction.text)?;
    }
    if let Some(report) = report {
        let mut told = model.describe(&args.model.held);
        told.extend(figures(&AnswerSummary::new(&predictions), seconds));
        report.write("generate", told, &[], &[])?;
    }
    Ok(())
}

/// What is read.
fn files(args: &GenerateArgs) -> Distinct {
    let mut files = Distinct::new();
    files.input("--model", &Source::parse(&args.model.model));
    if let Some(adapter) = &args.model.adapter {
        files.input("--adapter", &Source::parse(adapter));
    }
    files
}
