//! Whoever asks the model questions whenever it is evaluated.

use std::ops::Range;

use ft_model::decoder::Decoder;
use ft_text::Form;

use crate::error::Result;

/// The model as it stands.
pub struct Examined<'a> {
    pub decoder: Decoder<'a>,
    /// How a prompt must look for what it learns.
    pub form: &'a Form,
}

/// The marks of one question, in the order of [`Examiner::keys`]; none for a question that is not marked.
pub type Marks = Option<[f64; 2]>;

/// Asks questions and marks the answers. The mean of each mark stands in the evaluation's log entry.
pub trait Examiner {
    /// The names of the two marks in the log, which begin with `eval_`.
    fn keys(&self) -> [&'static str; 2];

    /// How many questions there are, on every rank the same.
    fn questions(&self) -> usize;

    /// The marks of the questions `which`. `step` is told how many questions are done since the last time, often none,
    /// and says whether to go on; none where it said no. Every rank that is asked the same questions asks the layers in
    /// the same order.
    ///
    /// # Errors
    /// Ends the run.
    fn examine(
        &mut self,
        model: Examined<'_>,
        which: Range<usize>,
        step: &mut dyn FnMut(usize) -> Result<bool>,
    ) -> Result<Option<Vec<Marks>>>;
}
