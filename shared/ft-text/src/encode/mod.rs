//! Text to token ids and the place where each token begins.
//!
//! `tokenizers` keeps, for each character, where it came from; most of its time goes
//! there. A byte-level BPE needs none of it: its tokens are slices of the text's bytes.
//! So for the pipelines that such models use, the text is cut into words here, and each
//! word's tokens are taken from `tokenizers`' own model, once, and remembered. Every
//! other pipeline goes through `tokenizers` as it is. Tests hold the two to each other.

mod encoded;
mod plan;
mod words;

use tokenizers::Tokenizer;

use crate::error::{Error, Result};
pub use encoded::Encoded;
use plan::Plan;
use words::Words;

/// Encodes texts of one tokenizer, without adding special tokens.
#[derive(Debug)]
pub struct Encoder {
    tokenizer: Tokenizer,
    plan: Option<Plan>,
}

/// What a thread remembers between texts. Keep one per thread; results do not depend
/// on it.
#[derive(Debug, Default)]
pub struct Scratch {
    words: Words,
}

impl Encoder {
    /// An encoder of `tokenizer`.
    pub fn new(tokenizer: Tokenizer) -> Self {
        let plan = Plan::of(&tokenizer);
        Self { tokenizer, plan }
    }

    /// The tokens of `text`. No token is added: a rendered template has its own.
    ///
    /// # Errors
    /// [`Error::Encode`] in the tokenizer's words.
    pub fn encode(&self, text: &str, scratch: &mut Scratch) -> Result<Encoded> {
        match &self.plan {
            Some(plan) if plan.covers(text) => {
                let mut out = Encoded::default();
                plan.words(text, |piece, at| scratch.words.append(self.tokenizer.get_model(), piece, at, &mut out))?;
                Ok(out)
            }
            _ => self.encode_plainly(text),
        }
    }

    /// The same by `tokenizers` alone.
    fn encode_plainly(&self, text: &str) -> Result<Encoded> {
        let encoded = ft_io::caught(|| self.tokenizer.encode(text, false)).unwrap_or_else(|panic| Err(panic.into()));
        let encoding = encoded.map_err(|e| Error::Encode(e.to_string()))?;
        Ok(Encoded {
            ids: encoding.get_ids().to_vec(),
            starts: encoding.get_offsets().iter().map(|&(start, _)| start as u32).collect(),
        })
    }

    /// Whether the fast way is taken for this tokenizer.
    #[cfg(test)]
    fn is_fast(&self) -> bool {
        self.plan.is_some()
    }
}

#[cfg(test)]
mod tests;
