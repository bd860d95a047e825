//! A conversation with a model.

use std::ops::ControlFlow;

use ft_model::decoder::Decoder;
use ft_model::generate::Session;
use ft_text::Message;

use crate::conversation::Speaker;
use crate::error::Result;
use crate::sampling::{Sampler, Sampling};
use crate::speech::Speech;

/// How a conversation's answers are made.
#[derive(Debug, Clone)]
pub struct ChatOptions {
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// The seed of the draws; each answer of a conversation has a stream of its own.
    pub seed: u64,
    /// The most tokens of an answer.
    pub max_new_tokens: usize,
    /// The tokens that end an answer.
    pub end_ids: Vec<u32>,
    /// The texts that end an answer, which are not told.
    pub stops: Vec<String>,
}

/// Questions and answers so far, and what the model has read of them.
pub struct Chat<'a> {
    speaker: &'a Speaker,
    session: Session<'a>,
    options: ChatOptions,
    turns: Vec<Message>,
    answers: u64,
    warned: bool,
}

/// An answer, when it is at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What was told.
    pub text: String,
    /// Its tokens, with the one that ended it.
    pub tokens: Vec<u32>,
    /// Whether a token or a stop string ended it, and not its length or the listener.
    pub ended: bool,
    /// How many tokens the question stood after, altogether.
    pub prompt_tokens: usize,
    /// How many of these the model had read before.
    pub kept_tokens: usize,
}

impl<'a> Chat<'a> {
    /// A conversation in which nothing is said.
    pub fn new(decoder: Decoder<'a>, speaker: &'a Speaker, options: ChatOptions) -> Self {
        let session = Session::new(decoder);
        Self { speaker, session, options, turns: Vec::new(), answers: 0, warned: false }
    }

    /// Answers `question` after all that was said before. `tell` gets the text as it comes, in pieces that may be empty,
    /// once a token; where it breaks off, the answer ends there. What was told is remembered.
    ///
    /// # Errors
    /// If the template refuses the conversation, or the model cannot read it or go on. The question is forgotten then.
    pub fn answer(&mut self, question: &str, tell: &mut dyn FnMut(&str) -> ControlFlow<()>) -> Result<Reply> {
        self.turns.push(Message::new("user", question));
        let reply = self.reply(tell);
        match &reply {
            Ok(reply) => self.turns.push(Message::new("assistant", reply.text.as_str())),
            Err(_) => drop(self.turns.pop()),
        }
        reply
    }

    /// Forgets what was said, but for the system message.
    pub fn reset(&mut self) {
        self.turns.clear();
        self.session.reset();
    }

    fn reply(&mut self, tell: &mut dyn FnMut(&str) -> ControlFlow<()>) -> Result<Reply> {
        let (_, prompt) = self.speaker.prompt(&self.turns)?;
        let Self { session, options, .. } = self;
        let (mut logits, kept_tokens) = session.read(&prompt)?;
        let room = session.room(options.max_new_tokens);
        let mut sampler = Sampler::of_row(options.sampling, options.seed, self.answers, &prompt);
        self.answers += 1;
        let mut speech = Speech::new(&self.speaker.text().tokenizer, &options.stops);
        let mut tokens = Vec::new();
        let ended = loop {
            let token = sampler.choose(0, &logits)?;
            tokens.push(token);
            let piece = speech.push(token)?;
            let flow = tell(piece);
            let ended = options.end_ids.contains(&token) || speech.stopped();
            if ended || tokens.len() >= room || flow.is_break() {
                break ended;
            }
            if let Some(told) = session.beyond().filter(|_| !self.warned) {
                tracing::warn!("{told}");
                self.warned = true;
            }
            logits = session.go_on(token)?;
        };
        let _ = tell(speech.finish()?);
        Ok(Reply { text: speech.text().to_owned(), tokens, ended, prompt_tokens: prompt.len(), kept_tokens })
    }
}
