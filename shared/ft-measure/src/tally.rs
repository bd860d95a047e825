//! How many questions were answered right.

use std::collections::BTreeMap;

use crate::outcome::Outcome;
use crate::question::Question;

/// A share of questions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// How many were answered right.
    pub right: usize,
    /// How many there are.
    pub of: usize,
}

impl Share {
    fn add(&mut self, right: bool) {
        self.right += usize::from(right);
        self.of += 1;
    }

    /// Between 0 and 1.
    pub fn value(self) -> f64 {
        self.right as f64 / self.of as f64
    }

    /// The standard error of the mean, from the sample's own variance, as lm-eval has it; not a number
    /// for a single question.
    pub fn standard_error(self) -> f64 {
        let p = self.value();
        (p * (1.0 - p) / (self.of as f64 - 1.0)).sqrt()
    }
}

/// The two ways to take the likeliest choice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shares {
    /// By likelihood.
    pub plain: Share,
    /// By likelihood a character of the choice's text, where texts are compared.
    pub by_length: Option<Share>,
}

/// What all questions came to, and those of each subject.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All questions.
    pub all: Shares,
    /// The questions of each subject.
    pub subjects: BTreeMap<String, Shares>,
    /// Whether some question has no subject.
    pub unnamed: bool,
}

impl Tally {
    /// Counts the questions that were answered right.
    pub fn new(questions: &[Question], outcomes: &[Outcome]) -> Self {
        let mut tally = Self::default();
        for (question, outcome) in questions.iter().zip(outcomes) {
            let add = |shares: &mut Shares| {
                shares.plain.add(outcome.is_right);
                if let Some((_, right)) = outcome.by_length {
                    shares.by_length.get_or_insert_default().add(right);
                }
            };
            add(&mut tally.all);
            match &question.subject {
                Some(subject) => add(tally.subjects.entry(subject.clone()).or_default()),
                None => tally.unnamed = true,
            }
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;

    fn question(answer: usize, subject: Option<&str>) -> Question {
        let choices = vec!["four".into(), "a much longer text".into()];
        Question { place: String::new(), text: "?".into(), choices, answer, subject: subject.map(Into::into) }
    }

    #[test]
    fn long_choices_are_not_held_against_the_model() {
        let questions = [question(1, None), question(0, None)];
        let likelihoods = [[-4.0, -9.0], [-2.0, -18.0]];
        let outcomes: Vec<_> =
            questions.iter().zip(likelihoods).map(|(q, l)| Outcome::new(q, &l, Format::Text)).collect();
        let tally = Tally::new(&questions, &outcomes);
        assert_eq!(tally.all.plain, Share { right: 1, of: 2 });
        assert_eq!(tally.all.by_length, Some(Share { right: 2, of: 2 }));
        assert_eq!(tally.all.plain.standard_error(), 0.5);
    }
}
