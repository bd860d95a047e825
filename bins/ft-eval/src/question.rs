//! `ft-eval generate --prompt`: one question, answered on standard output.

use std::io::Write;
use std::time::Instant;

use anyhow::Result;
use ft_io::output::listing;
use ft_io::{Distinct, Source, interrupt};
use ft_measure::{
    AnswerSummary, Answers, Chat, ChatOptions, DEFAULT_NEW_TOKENS, Prediction, Prompts, Sampler, Speaker,
};
use ft_model::generate::Options;
use ft_text::{Message, TextModel};

use crate::args::GenerateArgs;
use crate::chat::told;
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
    let asked = Asked {
        prompts: Prompts::of_question(rendered, ids).repeated(args.num_return_sequences as usize),
        max_new_tokens: args.max_new_tokens.or(chosen.max_new_tokens).unwrap_or(DEFAULT_NEW_TOKENS) as usize,
        end_ids: [&speaker.text().end_ids[..], &chosen.stop_ids].concat(),
        chosen,
    };
    let started = Instant::now();
    let predictions = match args.num_return_sequences {
        1 => vec![one(args, &asked, &model, &speaker, question)?],
        _ => several(args, &asked, &model, &speaker)?,
    };
    let seconds = started.elapsed().as_secs_f64();
    if let Some(report) = report {
        let mut told = model.describe(&args.model.held);
        told.extend(figures(&AnswerSummary::new(&asked.prompts, &predictions), seconds));
        report.write("generate", told, &[], &[])?;
    }
    Ok(())
}

/// The question, and how it is answered.
struct Asked {
    prompts: Prompts,
    max_new_tokens: usize,
    end_ids: Vec<u32>,
    chosen: Chosen,
}

/// Tells one answer as it comes.
fn one(args: &GenerateArgs, asked: &Asked, model: &Model, speaker: &Speaker, question: &str) -> Result<Prediction> {
    let options = ChatOptions {
        sampling: asked.chosen.sampling,
        seed: args.sampling.seed,
        max_new_tokens: asked.max_new_tokens,
        end_ids: asked.end_ids.clone(),
        stops: asked.chosen.stops.clone(),
    };
    let mut out = listing();
    let reply = told(&mut Chat::new(model.decoder(), speaker, options), question, &mut out)?;
    writeln!(out)?;
    interrupt::check()?;
    Ok(Prediction { prompt: 0, text: reply.text, tokens: reply.tokens, ended: reply.ended, score: None })
}

/// Tells several answers when all are there.
fn several(args: &GenerateArgs, asked: &Asked, model: &Model, speaker: &Speaker) -> Result<Vec<Prediction>> {
    let Asked { prompts, chosen, .. } = asked;
    let options = Options {
        max_new_tokens: asked.max_new_tokens,
        batch_size: args.model.held.batch_size as usize,
        end_ids: asked.end_ids.clone(),
    };
    let sampler = Sampler::new(chosen.sampling, args.sampling.seed, &prompts.ids, prompts.samples());
    let tokenizer = &speaker.text().tokenizer;
    let answers = Answers::new(model.decoder(), prompts, tokenizer, (sampler, &chosen.stops), options)?;
    let predictions = answer(answers, prompts, None)?;
    let mut out = listing();
    for (i, prediction) in predictions.iter().enumerate() {
        let between = if i == 0 { "" } else { BETWEEN };
        writeln!(out, "{between}{}", prediction.text)?;
    }
    Ok(predictions)
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
