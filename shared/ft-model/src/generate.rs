//! Text generation with a cache of keys and values, many sequences at a time.
//!
//! The tokens of the prompts go through the blocks' forward of training, laid end to end without padding;
//! then each step takes one token a sequence, against the keys and values kept of those before it. A
//! sequence that ends leaves the batch, and a waiting one takes its place.
//!
//! What a sequence gets does not depend on the batch it is in: every operator gives a row the same bits
//! whatever stands beside it, so the logits of a sequence alone and among others are equal.

mod cache;
mod engine;
mod prompts;
mod session;

pub use cache::Cache;
pub use engine::Engine;
pub use session::Session;

use std::ops::Range;

use candle_core::Tensor;

use crate::arch::{Architecture, Rope};
use crate::decoder::Decoder;
use crate::error::{Error, Result};

/// How answers are made.
#[derive(Debug, Clone)]
pub struct Options {
    /// The most tokens of an answer.
    pub max_new_tokens: usize,
    /// The most sequences at a time.
    pub batch_size: usize,
    /// The tokens that end an answer.
    pub end_ids: Vec<u32>,
}

/// A finished answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Which prompt it answers.
    pub prompt: usize,
    /// Its tokens, with the one that ended it.
    pub tokens: Vec<u32>,
    /// Whether a token ended it, and not its length.
    pub ended: bool,
}

/// Picks the next token of a prompt's answer from its logits, `[vocabulary]`.
pub type Choose<'c> = dyn FnMut(usize, &Tensor) -> Result<u32> + Send + 'c;

/// Whether a prompt's answer ends with the token that it got.
pub type Ends<'c> = dyn FnMut(usize, u32) -> bool + Send + 'c;

/// Answers prompts, step by step.
pub struct Generator<'a> {
    engine: Engine<'a>,
    prompts: &'a [Vec<u32>],
    options: Options,
    /// The first prompt that has not begun.
    waiting: usize,
    /// Whether it was said that a sequence is longer than the model was made for.
    warned: bool,
    running: Vec<Running>,
}

/// A sequence whose answer grows.
struct Running {
    cache: Cache,
    answer: Answer,
    /// The most tokens that the answer may have.
    room: usize,
}

impl<'a> Generator<'a> {
    /// Answers `prompts` with `decoder`'s model and adapter.
    ///
    /// # Errors
    /// If a prompt has no token, one outside the vocabulary, or more than the model takes.
    pub fn new(decoder: Decoder<'a>, prompts: &'a [Vec<u32>], options: Options) -> Result<Self> {
        for (i, prompt) in prompts.iter().enumerate() {
            check(&decoder, prompt).map_err(|reason| Error::Prompt { number: i + 1, reason })?;
        }
        Ok(Self { engine: Engine::new(decoder), prompts, options, waiting: 0, warned: false, running: Vec::new() })
    }

    /// Whether all prompts are answered.
    pub fn is_done(&self) -> bool {
        self.running.is_empty() && self.waiting == self.prompts.len()
    }

    /// Gives every running sequence one more token, or takes prompts in and gives those their first, and
    /// returns the answers that are finished by that.
    ///
    /// # Errors
    /// If a layer cannot be had, an operator fails, or `choose` does.
    pub fn step(&mut self, choose: &mut Choose<'_>) -> Result<Vec<Answer>> {
        self.step_until(choose, &mut |_, _| false)
    }

    /// The same, where a token may end its answer for other reasons than being an end token: `ends` is told each
    /// prompt's newest one.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub fn step_until(&mut self, choose: &mut Choose<'_>, ends: &mut Ends<'_>) -> Result<Vec<Answer>> {
        if self.is_done() {
            return Ok(Vec::new());
        }
        // Inside the pool the operators share their work without waking this thread each time.
        rayon::scope(|_| {
            let begun = self.admit();
            let (from, logits) =
                if begun.is_empty() { (0, self.continued()?) } else { (self.running.len(), self.begin(begun)?) };
            for (i, running) in self.running[from..].iter_mut().enumerate() {
                let token = choose(running.answer.prompt, &logits.get(i)?)?;
                running.answer.tokens.push(token);
                running.answer.ended = self.options.end_ids.contains(&token) || ends(running.answer.prompt, token);
            }
            Ok(self.take_finished())
        })
    }

    /// The prompts to begin now: as many as there is room for, once half of the seats are free, for
    /// prompts that begin together share the reading of the weights.
    fn admit(&self) -> Range<usize> {
        let seats = self.options.batch_size.max(1);
        let free = seats.saturating_sub(self.running.len());
        let count = if 2 * free >= seats { free.min(self.prompts.len() - self.waiting) } else { 0 };
        self.waiting..self.waiting + count
    }

    /// Takes prompts in; the logits of their last tokens.
    fn begin(&mut self, prompts: Range<usize>) -> Result<Tensor> {
        let some: Vec<&[u32]> = self.prompts[prompts.clone()].iter().map(Vec::as_slice).collect();
        let (caches, logits) = self.engine.prefill(&some, self.options.max_new_tokens)?;
        self.waiting = prompts.end;
        self.running.extend(prompts.zip(caches).map(|(prompt, cache)| Running {
            room: room(self.engine.arch(), cache.tokens(), self.options.max_new_tokens),
            answer: Answer { prompt, tokens: Vec::new(), ended: false },
            cache,
        }));
        Ok(logits)
    }

    /// Says once that a sequence is longer than the model was made for.
    fn warn(&mut self) {
        let longest = self.running.iter().map(|running| running.cache.tokens() + 1).max().unwrap_or(0);
        if let Some(told) = self.engine.arch().beyond(longest).filter(|_| !self.warned) {
            tracing::warn!("{told}");
            self.warned = true;
        }
    }

    /// The logits of all running sequences' newest tokens.
    fn continued(&mut self) -> Result<Tensor> {
        self.warn();
        self.turn_anew()?;
        let newest: Vec<u32> = self.running.iter().filter_map(|r| r.answer.tokens.last().copied()).collect();
        let mut caches: Vec<&mut Cache> = self.running.iter_mut().map(|r| &mut r.cache).collect();
        self.engine.step(&newest, &mut caches)
    }

    /// Reads a sequence again from its start where its next token makes it so long that all its rotations change
    /// (LongRoPE), as transformers does.
    fn turn_anew(&mut self) -> Result<()> {
        let Some(limit) = self.engine.arch().ropes.iter().find_map(Rope::switches_at) else { return Ok(()) };
        for running in self.running.iter_mut().filter(|r| r.cache.tokens() == limit) {
            let Some((_, read)) = running.answer.tokens.split_last() else { continue };
            let whole = [self.prompts[running.answer.prompt].as_slice(), read].concat();
            running.cache = self.engine.reread(&whole, limit + 1, running.room)?;
        }
        Ok(())
    }

    fn take_finished(&mut self) -> Vec<Answer> {
        let finished = |r: &mut Running| r.answer.ended || r.answer.tokens.len() >= r.room;
        self.running.extract_if(.., finished).map(|r| r.answer).collect()
    }
}

/// How many tokens the answer to a prompt of `prompt` tokens may have, where `asked` are asked for. Learned positions
/// are a bound. What the model was made for is one where more is asked for than that is altogether, which means as much
/// as it can; whoever asks for less has it, also beyond.
fn room(arch: &Architecture, prompt: usize, asked: usize) -> usize {
    if let Some(longest) = arch.longest() {
        return asked.min(longest.saturating_sub(prompt));
    }
    match arch.reach() {
        Some(reach) if asked > reach => {
            if prompt < reach {
                reach - prompt
            } else {
                reach
            }
        }
        _ => asked,
    }
}

/// What is wrong with a prompt.
fn check(decoder: &Decoder<'_>, prompt: &[u32]) -> std::result::Result<(), String> {
    let (limit, vocabulary) = (decoder.arch.longest().unwrap_or(usize::MAX), decoder.arch.vocab_size);
    if prompt.is_empty() {
        return Err("has no tokens to go on from".into());
    }
    if prompt.len() >= limit {
        return Err(format!(
            "has {} tokens, which leaves no room for an answer: the model takes {limit}",
            prompt.len()
        ));
    }
    match prompt.iter().find(|&&id| id as usize >= vocabulary) {
        Some(id) => Err(format!("has the token {id}, but the model's vocabulary has {vocabulary}")),
        None => Ok(()),
    }
}
