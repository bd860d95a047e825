//! Prompts that a model answers again and again while it learns.

use std::ops::Range;
use std::path::Path;

use ft_io::Source;
use ft_model::decoder::Decoder;
use ft_model::generate::Options;
use ft_text::TextModel;

use crate::answers::{Answers, Prediction};
use crate::error::{Error, Result};
use crate::prompts::Prompts;
use crate::sampling::{Sampler, Sampling};
use crate::score::Score;
use crate::tokens::check_tokenizer;

/// The most tokens of an answer where nothing says another number.
pub const DEFAULT_NEW_TOKENS: u32 = 128;

/// Prompts with references, and how they are answered: greedily.
#[derive(Debug)]
pub struct Exam {
    prompts: Prompts,
    text: TextModel,
    /// The most tokens of an answer.
    max_new_tokens: usize,
    /// Answers that are made at a time; which changes none of them.
    batch_size: usize,
}

impl Exam {
    /// Reads the prompts of `source` for the model at `model`.
    ///
    /// # Errors
    /// Those of [`Prompts::read`]; if no prompt has a reference, or the model has no tokenizer, or another than made the
    /// prompts.
    pub fn read(source: &Source, model: &Path, max_new_tokens: usize, batch_size: usize) -> Result<Self> {
        let prompts = Prompts::read(source, None)?;
        if prompts.references.iter().all(Option::is_none) {
            let told =
                "no prompt has a 'reference' to hold its answer against; 'ft-template --mode test' keeps the answers";
            return Err(Error::content(&prompts.name, told));
        }
        check_tokenizer(&prompts.name, prompts.tokenizer.as_deref(), model)?;
        Ok(Self { prompts, text: TextModel::open(model)?, max_new_tokens, batch_size })
    }

    /// How many prompts there are.
    pub fn len(&self) -> usize {
        self.prompts.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.prompts.ids.is_empty()
    }

    /// The input's name and the digest of the template that its prompts were made with, where it says that.
    pub fn origin(&self) -> (&str, Option<&str>) {
        (&self.prompts.name, self.prompts.template.as_deref())
    }

    /// Answers the prompts `which`: the scores of those that have a reference, in their order. An answer ends with
    /// one of the model's end tokens or of `end_ids`. `step` is told how many answers each step finished, and says
    /// whether to go on; none where it said no.
    ///
    /// # Errors
    /// If a prompt is none that the model can continue, a layer cannot be had, or `step` fails.
    pub fn answer<E: From<Error>>(
        &self,
        decoder: Decoder<'_>,
        end_ids: &[u32],
        which: Range<usize>,
        mut step: impl FnMut(usize) -> std::result::Result<bool, E>,
    ) -> std::result::Result<Option<Vec<Option<Score>>>, E> {
        let prompts = self.prompts.part(which);
        let own = self.text.end_ids.iter().copied();
        let others = end_ids.iter().copied().filter(|id| !self.text.end_ids.contains(id));
        let options = Options {
            max_new_tokens: self.max_new_tokens,
            batch_size: self.batch_size,
            end_ids: own.chain(others).collect(),
        };
        let sampler = Sampler::new(Sampling::GREEDY, 0, &prompts.ids, 1);
        let mut scores = vec![None; prompts.ids.len()];
        for finished in Answers::new(decoder, &prompts, &self.text.tokenizer, (sampler, &[]), options)? {
            let finished: Vec<Prediction> = finished?;
            for prediction in &finished {
                scores[prediction.prompt] = prediction.score;
            }
            if !step(finished.len())? {
                return Ok(None);
            }
        }
        Ok(Some(scores))
    }
}
