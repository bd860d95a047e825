//! `ft-eval chat`: questions from standard input, answers to standard output as they come.

mod lines;

use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;

use anyhow::{Error, Result, bail};
use ft_cli::Usage;
use ft_io::output::listing;
use ft_io::{Interrupted, interrupt};
use ft_measure::{Chat, ChatOptions, Reply, Speaker};
use ft_text::TextModel;

use crate::args::ChatArgs;
use crate::chosen::Chosen;
use crate::model::Model;

use lines::Lines;

const HELP: &str = "/reset forgets the conversation, /exit leaves, Ctrl-C ends an answer";

pub fn run(args: &ChatArgs) -> Result<()> {
    if args.adapter.as_deref().is_some_and(|adapter| adapter == "-") {
        return Err(
            Usage("--adapter -: the questions come from standard input; name a file for the adapter".into()).into()
        );
    }
    let text = TextModel::open(&args.model)?;
    let chosen = Chosen::new(&args.sampling, &args.model, &text, true)?;
    let model = Model::open(&args.model, args.adapter.as_deref(), &args.held)?;
    let speaker = Speaker::new(text, model.form(), args.system.as_deref())?;
    if speaker.text().template.is_none() {
        let told = "has no chat template, nor has its adapter; take a model that was tuned for chat, or ask single \
                    questions with 'ft-eval generate --prompt'";
        bail!("'{}' {told}", args.model.display());
    }
    let options = ChatOptions {
        sampling: chosen.sampling,
        seed: args.sampling.seed,
        max_new_tokens: args.max_new_tokens.or(chosen.max_new_tokens).map_or(usize::MAX, |n| n as usize),
        end_ids: [&speaker.text().end_ids[..], &chosen.stop_ids].concat(),
        stops: chosen.stops,
    };
    let mut chat = Chat::new(model.decoder(), &speaker, options);
    tracing::info!("{HELP}");
    let mut lines = Lines::of_stdin();
    while let Some(line) = lines.next()? {
        match line.trim() {
            "" => {}
            "/exit" | "/quit" => break,
            "/reset" => {
                chat.reset();
                tracing::info!("the conversation begins anew");
            }
            "/help" => tracing::info!("{HELP}"),
            command if command.starts_with('/') => tracing::warn!("there is no {command}; {HELP}"),
            question => {
                if let Err(error) = answered(&mut chat, question) {
                    // A person may ask otherwise; a script goes no further.
                    if !std::io::stdin().is_terminal() || interrupt::requested() {
                        return Err(error);
                    }
                    tracing::error!("{error:#}");
                }
            }
        }
    }
    Ok(())
}

/// Tells one answer as it comes, and a line break after it.
fn answered(chat: &mut Chat<'_>, question: &str) -> Result<()> {
    let mut out = listing();
    let reply = told(chat, question, &mut out)?;
    writeln!(out)?;
    let Reply { tokens, prompt_tokens, kept_tokens, .. } = &reply;
    tracing::debug!("{} new tokens after {prompt_tokens}, of which {kept_tokens} were read before", tokens.len());
    if interrupt::requested() {
        // Ctrl-C ends the answer alone; all else ends the program.
        if !interrupt::is_only_sigint() {
            return Err(Interrupted.into());
        }
        interrupt::clear_sigint();
    }
    Ok(())
}

/// Answers a question, writing the pieces of the answer to `out`.
pub fn told(chat: &mut Chat<'_>, question: &str, out: &mut dyn Write) -> Result<Reply> {
    let mut failed = None;
    let mut tell = |piece: &str| {
        let written =
            if piece.is_empty() { Ok(()) } else { out.write_all(piece.as_bytes()).and_then(|()| out.flush()) };
        match written {
            Ok(()) if interrupt::requested() => ControlFlow::Break(()),
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed.get_or_insert(error);
                ControlFlow::Break(())
            }
        }
    };
    let reply = chat.answer(question, &mut tell)?;
    match failed {
        Some(error) => Err(Error::new(error).context("cannot write the answer")),
        None => Ok(reply),
    }
}
