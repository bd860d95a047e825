//! What the arguments and the model's own configuration come to.

use std::path::Path;

use anyhow::{Result, ensure};
use ft_cli::Usage;
use ft_measure::{GenerationConfig, Sampling};
use ft_text::{TextModel, Tokenizer};

use crate::args::SamplingArgs;

/// How answers are made.
pub struct Chosen {
    pub sampling: Sampling,
    /// The most tokens of an answer, where the model's configuration is followed and says it.
    pub max_new_tokens: Option<u32>,
    /// Texts that end an answer.
    pub stops: Vec<String>,
    /// Tokens that end it: the stop strings that are special tokens, which are in no text.
    pub stop_ids: Vec<u32>,
}

impl Chosen {
    /// For the model at `model`; `is_person` says who asks, and so whether `generation_config.json` counts.
    pub fn new(args: &SamplingArgs, model: &Path, text: &TextModel, is_person: bool) -> Result<Self> {
        let config = if args.follows(is_person) { GenerationConfig::read(model)? } else { None };
        if let Some(ignored) = config.as_ref().map(|config| &config.ignored).filter(|ignored| !ignored.is_empty()) {
            let keys = ignored.join(", ");
            tracing::warn!("'{}': its generation_config.json has {keys}, which is not followed", model.display());
        }
        let (special, stops) = args.stop.iter().cloned().partition(|stop| is_special(&text.tokenizer, stop));
        let (special, stops): (Vec<String>, Vec<String>) = (special, stops);
        Ok(Self {
            sampling: args.resolve(config.as_ref())?,
            max_new_tokens: config.and_then(|config| config.max_new_tokens),
            stops,
            stop_ids: special.iter().filter_map(|stop| text.tokenizer.token_to_id(stop)).collect(),
        })
    }

    /// Refuses several answers to one prompt where all would be the same.
    pub fn check_samples(&self, samples: u32) -> Result<()> {
        let told = "--num-return-sequences: greedy answers to one prompt are all the same; give --temperature above 0";
        ensure!(samples == 1 || !self.sampling.is_greedy(), Usage(told.into()));
        Ok(())
    }
}

fn is_special(tokenizer: &Tokenizer, text: &str) -> bool {
    let id = tokenizer.token_to_id(text);
    id.is_some_and(|id| tokenizer.get_added_tokens_decoder().get(&id).is_some_and(|token| token.special))
}
