//! Which choice a model takes.

use crate::format::Format;
use crate::question::Question;

/// How one question was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The likeliest choice, counted from 0.
    pub chosen: usize,
    /// Whether it is the right one.
    pub is_right: bool,
    /// Where texts are compared: the likeliest choice a character of its text, and whether it is right.
    pub by_length: Option<(usize, bool)>,
}

impl Outcome {
    /// Of the `likelihoods` of a question's choices.
    pub fn new(question: &Question, likelihoods: &[f64], format: Format) -> Self {
        let chosen = greatest(likelihoods.iter().copied());
        let lengths = question.choices.iter().map(|choice| choice.chars().count().max(1) as f64);
        let by_length = format.by_length().then(|| greatest(likelihoods.iter().zip(lengths).map(|(l, n)| l / n)));
        Self {
            chosen,
            is_right: chosen == question.answer,
            by_length: by_length.map(|chosen| (chosen, chosen == question.answer)),
        }
    }
}

/// The first of the greatest values.
fn greatest(values: impl Iterator<Item = f64>) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (i, value) in values.enumerate() {
        if value > best.1 {
            best = (i, value);
        }
    }
    best.0
}
