//! A multiple-choice question.

use crate::row_id::row_id;

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Where it stands, for messages.
    pub place: String,
    /// The question itself.
    pub text: String,
    /// What it may be answered with.
    pub choices: Vec<String>,
    /// The right one of them.
    pub answer: usize,
    /// What it is about, where the input says it.
    pub subject: Option<String>,
}

impl Question {
    /// Which question it is, whatever model is asked: a digest of its text, its choices and its answer.
    pub fn row_id(&self) -> String {
        let answer = (self.answer as u64).to_le_bytes();
        let choices = self.choices.iter().map(String::as_bytes);
        row_id([self.text.as_bytes(), &answer].into_iter().chain(choices))
    }
}
