//! How likely a model holds each choice of a question.

use ft_kernels::math::{exp, log};
use ft_model::batch::{Batch, Sequence};
use ft_model::decoder::Decoder;
use ft_model::generate::Engine;

use crate::ask::Asked;
use crate::error::{Error, Result};
use crate::format::Format;
use crate::letters::letter;

/// The logarithms of the likelihoods of the choices, some questions at a time, in their order: for each question a number a choice, of
/// which the greatest belongs to the likeliest one.
pub struct Likelihoods<'a> {
    engine: Engine<'a>,
    format: Format,
    asked: &'a [Asked],
    batch_size: usize,
    done: usize,
}

impl<'a> Likelihoods<'a> {
    /// Of all questions that were `asked` in `format`, `batch_size` sequences at a time; no likelihood depends on how
    /// many.
    pub fn new(decoder: Decoder<'a>, asked: &'a [Asked], format: Format, batch_size: usize) -> Self {
        Self { engine: Engine::new(decoder), format, asked, batch_size: batch_size.max(1), done: 0 }
    }

    fn batch(&mut self) -> Result<Vec<Vec<f64>>> {
        let from = self.done;
        self.done = self.asked.len().min(from + self.batch_size);
        let some = &self.asked[from..self.done];
        let is_by_letter = |asked: &&Asked| asked.is_by_letter(self.format);
        let (letters, texts): (Vec<&Asked>, Vec<&Asked>) = some.iter().partition(is_by_letter);
        let mut letters = by_letters(&self.engine, &letters)?.into_iter();
        let mut texts = by_text(self.engine.decoder(), &texts, self.batch_size)?.into_iter();
        let next = |asked: &Asked| if is_by_letter(&asked) { letters.next() } else { texts.next() };
        let likelihoods: Vec<Vec<f64>> = some.iter().filter_map(next).collect();
        for (asked, of) in some.iter().zip(&likelihoods) {
            if let Some(i) = of.iter().position(|likelihood| !likelihood.is_finite()) {
                let what = format!("the likelihood of choice {}", letter(i));
                return Err(Error::not_finite(&asked.place, &what, of[i]));
            }
        }
        Ok(likelihoods)
    }
}

impl Iterator for Likelihoods<'_> {
    type Item = Result<Vec<Vec<f64>>>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.done < self.asked.len()).then(|| self.batch())
    }
}

/// The logarithm of the likelihood of each choice's letter after the prompt.
fn by_letters(engine: &Engine<'_>, asked: &[&Asked]) -> Result<Vec<Vec<f64>>> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let prompts: Vec<&[u32]> = asked.iter().map(|asked| asked.prompt.as_slice()).collect();
    let logits = engine.last_logits(&prompts)?.to_vec2::<f32>().map_err(ft_model::Error::from)?;
    let of = |(asked, row): (&&Asked, &Vec<f32>)| {
        let all = log_sum_exp(row);
        asked.choices.iter().map(|letter| f64::from(row[letter[0] as usize]) - all).collect()
    };
    Ok(asked.iter().zip(&logits).map(of).collect())
}

/// What turns logits into logarithms of probabilities.
fn log_sum_exp(logits: &[f32]) -> f64 {
    let greatest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&logit| exp(f64::from(logit) - greatest)).sum();
    greatest + log(sum)
}

/// The logarithm of the likelihood of each choice's text after the prompt.
fn by_text(decoder: &Decoder<'_>, asked: &[&Asked], batch_size: usize) -> Result<Vec<Vec<f64>>> {
    let sequences: Vec<Sequence> = asked.iter().flat_map(|asked| asked.sequences()).collect();
    let mut likelihoods = Vec::with_capacity(sequences.len());
    for some in sequences.chunks(batch_size) {
        likelihoods.extend(decoder.losses(&Batch::new(some))?.iter().map(|loss| -loss.sum));
    }
    let mut rest = likelihoods.into_iter();
    Ok(asked.iter().map(|asked| rest.by_ref().take(asked.choices.len()).collect()).collect())
}
