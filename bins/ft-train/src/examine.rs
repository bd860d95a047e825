//! `--eval-generate`: answers to prompts at each evaluation.

use std::ops::Range;

use anyhow::Result;
use ft_io::Source;
use ft_measure::{Exam, Score};
use ft_trainer::Error;
use ft_trainer::options::{EXAMINATION_KEYS, Options};
use ft_trainer::run::{Examined, Examiner, Marks};

/// The prompts, read.
struct Questions {
    exam: Exam,
    /// Whether it was said that they were made with another template.
    warned: bool,
}

/// Reads the prompts, if the run is asked for answers.
///
/// # Errors
/// What is wrong with the prompts.
pub fn examiner(options: &Options) -> Result<Option<Box<dyn Examiner>>> {
    let evaluation = &options.evaluation;
    let Some(path) = &evaluation.eval_generate else { return Ok(None) };
    let (new_tokens, batch_size) =
        (evaluation.eval_max_new_tokens as usize, options.training.per_device_eval_batch_size as usize);
    let exam = Exam::read(&Source::Path(path.clone()), &options.model, new_tokens, batch_size)?;
    Ok(Some(Box::new(Questions { exam, warned: false })))
}

impl Examiner for Questions {
    fn keys(&self) -> [&'static str; 2] {
        EXAMINATION_KEYS
    }

    fn questions(&self) -> usize {
        self.exam.len()
    }

    fn examine(
        &mut self,
        model: Examined<'_>,
        which: Range<usize>,
        step: &mut dyn FnMut(usize) -> Result<bool, Error>,
    ) -> Result<Option<Vec<Marks>>, Error> {
        let (name, template) = self.exam.origin();
        if !self.warned && model.form.has_another_template(template) {
            tracing::warn!("{name}: made with another chat template than the rows that are trained on");
            self.warned = true;
        }
        let mut told = |done: usize| step(done).map_err(anyhow::Error::from);
        let scores = self.exam.answer(model.decoder, &model.form.end_ids(), which, &mut told);
        let scores = scores.map_err(|error| error.downcast::<Error>().unwrap_or_else(Error::caller))?;
        let marks = |score: Score| [f64::from(u8::from(score.exact_match)), score.f1];
        Ok(scores.map(|scores| scores.into_iter().map(|score| score.map(marks)).collect()))
    }
}
