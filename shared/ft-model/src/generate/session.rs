//! One sequence that is read and continued by turns, as a conversation is.

use candle_core::Tensor;

use super::cache::Cache;
use super::engine::Engine;
use super::room;
use crate::arch::Rope;
use crate::decoder::Decoder;
use crate::error::{Error, Result};

/// The keys and values of the tokens so far are kept: where the next prompt begins with them, as the next turn of a
/// conversation does, only the rest is read.
pub struct Session<'a> {
    engine: Engine<'a>,
    cache: Option<Cache>,
    /// The tokens whose keys and values the cache holds.
    tokens: Vec<u32>,
}

impl<'a> Session<'a> {
    /// A session of `decoder`'s model and adapter in which nothing is read.
    pub fn new(decoder: Decoder<'a>) -> Self {
        Self { engine: Engine::new(decoder), cache: None, tokens: Vec::new() }
    }

    /// Reads a prompt; the logits of its last token, `[vocabulary]`, and how many of its tokens were there already.
    ///
    /// # Errors
    /// [`Error::Prompt`] if it is none that the model can continue; if a layer cannot be had, or an operator fails.
    pub fn read(&mut self, prompt: &[u32]) -> Result<(Tensor, usize)> {
        super::check(self.engine.decoder(), prompt).map_err(|reason| Error::Prompt { number: 1, reason })?;
        let alike = self.tokens.iter().zip(prompt).take_while(|(old, new)| old == new).count();
        // The last token is read in any case, for its logits.
        let kept = alike.min(prompt.len() - 1);
        let turns_alike = self.engine.arch().turns_alike([self.tokens.len(), prompt.len()].into_iter());
        let kept = if turns_alike { kept } else { 0 };
        // Whatever fails from here on, what is half read is not gone on from.
        let cache = self.cache.take().filter(|_| kept > 0);
        self.tokens.clear();
        let engine = &self.engine;
        let read = || {
            if let Some(mut cache) = cache {
                cache.truncate(kept)?;
                let logits = engine.extend(&prompt[kept..], &mut cache)?;
                return Ok::<_, Error>((Some(cache), logits));
            }
            let (mut caches, logits) = engine.prefill(&[prompt], usize::MAX)?;
            Ok((caches.pop(), logits))
        };
        // Inside the pool the operators share their work without waking this thread each time.
        let (cache, logits) = rayon::scope(|_| read())?;
        (self.cache, self.tokens) = (cache, prompt.to_vec());
        Ok((logits.get(0)?, kept))
    }

    /// Goes on with `token`; its logits, `[vocabulary]`. Something must have been read before.
    ///
    /// # Errors
    /// If nothing was read, a layer cannot be had, or an operator fails.
    pub fn go_on(&mut self, token: u32) -> Result<Tensor> {
        self.turn_anew()?;
        let Some(cache) = &mut self.cache else {
            return Err(Error::Prompt { number: 1, reason: "has no tokens to go on from".into() });
        };
        let engine = &self.engine;
        let logits = rayon::scope(|_| engine.step(&[token], &mut [cache]))?;
        self.tokens.push(token);
        Ok(logits.get(0)?)
    }

    /// How many tokens an answer to what was read may have, where `asked` are asked for.
    pub fn room(&self, asked: usize) -> usize {
        room(self.engine.arch(), self.tokens.len(), asked)
    }

    /// What is to be said where the next token makes the sequence longer than the model was made for.
    pub fn beyond(&self) -> Option<String> {
        self.engine.arch().beyond(self.tokens.len() + 1)
    }

    /// Forgets what was read.
    pub fn reset(&mut self) {
        self.cache = None;
        self.tokens.clear();
    }

    /// Reads all again where the next token makes the sequence so long that its rotations change (LongRoPE), as
    /// transformers does.
    fn turn_anew(&mut self) -> Result<()> {
        let limit = self.engine.arch().ropes.iter().find_map(Rope::switches_at);
        if let Some(limit) = limit.filter(|&limit| limit == self.tokens.len()) {
            self.cache = Some(self.engine.reread(&self.tokens, limit + 1, usize::MAX)?);
        }
        Ok(())
    }
}
