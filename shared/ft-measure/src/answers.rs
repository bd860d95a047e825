//! Answers to prompts, held against their references.

use std::collections::HashMap;

use candle_core::Tensor;
use ft_model::decoder::Decoder;
use ft_model::generate::{Answer, Generator, Options};
use ft_text::Tokenizer;

use crate::bleu::Bleu;
use crate::error::{Error, Result};
use crate::prompts::Prompts;
use crate::sampling::Sampler;
use crate::score::{Score, score};
use crate::speech::{Speech, first_stop};

/// An answer as text, held against its reference.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// Which row of the prompts it answers, counted from 0.
    pub prompt: usize,
    /// The text, without special tokens and without what stopped it.
    pub text: String,
    /// The tokens, with the one that ended it.
    pub tokens: Vec<u32>,
    /// Whether an end token or a stop string ended it, and not its length.
    pub ended: bool,
    /// How well it agrees with the reference, where there is one.
    pub score: Option<Score>,
}

/// The answers to prompts, as they are finished: each step gives every running answer one token more.
pub struct Answers<'a> {
    generator: Generator<'a>,
    sampler: Sampler,
    prompts: &'a Prompts,
    tokenizer: &'a Tokenizer,
    stops: &'a [String],
    /// The texts of running answers, where a text may end one.
    running: HashMap<usize, Speech<'a>>,
}

impl<'a> Answers<'a> {
    /// Answers all `prompts` with tokens that `sampler` draws, each up to the first of `stops`; no answer depends on how
    /// many are made at a time.
    ///
    /// # Errors
    /// If a prompt is none that the model can continue.
    pub fn new(
        decoder: Decoder<'a>,
        prompts: &'a Prompts,
        tokenizer: &'a Tokenizer,
        (sampler, stops): (Sampler, &'a [String]),
        options: Options,
    ) -> Result<Self> {
        let generator = Generator::new(decoder, &prompts.ids, options);
        let generator = generator.map_err(|error| match error {
            ft_model::Error::Prompt { number, reason } => {
                Error::content(&prompts.name, format!("prompt {} {reason}", prompts.number(number - 1)))
            }
            other => Error::from(other).at(&prompts.name),
        })?;
        Ok(Self { generator, sampler, prompts, tokenizer, stops, running: HashMap::new() })
    }

    fn step(&mut self) -> Result<Vec<Prediction>> {
        let Self { generator, sampler, running, .. } = self;
        let (tokenizer, stops) = (self.tokenizer, self.stops);
        let mut failed = None;
        let choose = &mut |row: usize, logits: &Tensor| sampler.choose(row, logits).inspect_err(|_| failed = Some(row));
        let mut no_text = None;
        let ends = &mut |row: usize, token: u32| {
            if stops.is_empty() {
                return false;
            }
            let speech = running.entry(row).or_insert_with(|| Speech::new(tokenizer, stops));
            match speech.push(token) {
                Ok(_) => speech.stopped(),
                Err(error) => {
                    no_text.get_or_insert((row, error));
                    true
                }
            }
        };
        let finished = generator.step_until(choose, ends);
        if let Some((row, error)) = no_text {
            return Err(error.at(self.prompts.place(row)));
        }
        let finished = finished.map_err(|error| match failed {
            Some(row) => Error::from(error).at(self.prompts.place(row)),
            None => error.into(),
        })?;
        finished.into_iter().map(|answer| self.prediction(answer)).collect()
    }

    fn prediction(&mut self, answer: Answer) -> Result<Prediction> {
        self.running.remove(&answer.prompt);
        let mut text = ft_text::decode(self.tokenizer, &answer.tokens, true).map_err(|error| {
            let told = format!("its answer: {error}");
            Error::content(self.prompts.place(answer.prompt), told)
        })?;
        if let Some(end) = first_stop(&text, self.stops) {
            text.truncate(end);
        }
        let reference = self.prompts.references[answer.prompt].as_ref();
        let score = reference.map(|reference| score(&text, reference));
        Ok(Prediction { prompt: answer.prompt, text, tokens: answer.tokens, ended: answer.ended, score })
    }
}

impl Iterator for Answers<'_> {
    type Item = Result<Vec<Prediction>>;

    /// The answers that one step finished, often none.
    fn next(&mut self) -> Option<Self::Item> {
        (!self.generator.is_done()).then(|| self.step())
    }
}

/// What some answers come to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AnswerSummary {
    /// The share of answers that are their reference but for case, punctuation and articles; not a number without
    /// references.
    pub exact_match: f64,
    /// The mean F1 over words; not a number without references.
    pub f1: f64,
    /// The mean of ROUGE-L's F measure; not a number without references.
    pub rouge_l: f64,
    /// BLEU of all answers that have a reference, between 0 and 100; not a number without references.
    pub bleu: f64,
    /// How many answers there are.
    pub answers: usize,
    /// How many of them have a reference.
    pub references: usize,
    /// How many an end token or a stop string ended.
    pub ended: usize,
    /// How many tokens they have together.
    pub tokens: usize,
}

impl AnswerSummary {
    /// Of answers to `prompts`, in their order.
    pub fn new(prompts: &Prompts, predictions: &[Prediction]) -> Self {
        let scores: Vec<Score> = predictions.iter().filter_map(|p| p.score).collect();
        let mean = |sum: f64| sum / scores.len() as f64;
        let mut bleu = Bleu::default();
        for prediction in predictions {
            if let Some(reference) = &prompts.references[prediction.prompt] {
                bleu.add(&prediction.text, reference);
            }
        }
        Self {
            exact_match: mean(scores.iter().filter(|score| score.exact_match).count() as f64),
            f1: mean(scores.iter().map(|score| score.f1).sum()),
            rouge_l: mean(scores.iter().map(|score| score.rouge_l).sum()),
            bleu: if scores.is_empty() { f64::NAN } else { bleu.score() },
            answers: predictions.len(),
            references: scores.len(),
            ended: predictions.iter().filter(|p| p.ended).count(),
            tokens: predictions.iter().map(|p| p.tokens.len()).sum(),
        }
    }
}
