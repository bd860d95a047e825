//! Examples with their answers, which stand before a question.

mod python_random;

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::question::Question;
use crate::questions::Questions;

use python_random::PythonRandom;

/// Which examples a question gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShotSampler {
    /// The first ones, as lm-eval's `first_n`.
    First,
    /// Others for each question, as lm-eval's own sampler draws them: Python's `random.Random(seed).sample`, from one
    /// question to the next.
    Random {
        /// lm-eval's `fewshot_random_seed`.
        seed: u64,
    },
}

/// Examples to draw from. A question with a subject gets examples of that subject.
#[derive(Debug)]
pub struct Shots {
    pool: Questions,
    name: String,
    count: usize,
    sampler: ShotSampler,
    /// Whether the questions are asked from the same file, so that none may be its own example.
    is_same_file: bool,
    /// The draws of each subject.
    draws: HashMap<Option<String>, PythonRandom>,
}

impl Shots {
    /// `count` examples a question, from `pool`, which is called `name`.
    pub fn new(pool: Questions, name: String, count: usize, sampler: ShotSampler) -> Self {
        Self { pool, name, count, sampler, is_same_file: false, draws: HashMap::new() }
    }

    /// Says from which file the questions are asked.
    #[must_use]
    pub fn of_questions(mut self, asked: &Questions) -> Self {
        self.is_same_file = asked.sha256 == self.pool.sha256;
        self
    }

    /// The examples of the next question.
    ///
    /// # Errors
    /// If there are fewer than are asked for.
    pub(crate) fn next(&mut self, question: &Question) -> Result<Vec<&Question>> {
        let of_subject = |shot: &&Question| question.subject.is_none() || shot.subject == question.subject;
        let pool: Vec<&Question> = self.pool.list.iter().filter(of_subject).collect();
        let is_other = |shot: &Question| {
            let parts = |of: &Question| (of.text.clone(), of.choices.clone(), of.answer);
            parts(shot) != parts(question)
        };
        let others: Vec<&Question> = pool.iter().copied().filter(|shot| !self.is_same_file || is_other(shot)).collect();
        if others.len() < self.count {
            let about = question.subject.as_ref().map(|subject| format!(" about '{subject}'")).unwrap_or_default();
            let told =
                format!("{} examples{about} for '{}', expected {} or more", others.len(), question.place, self.count);
            return Err(Error::content(&self.name, told));
        }
        let ShotSampler::Random { seed } = self.sampler else {
            return Ok(others.into_iter().take(self.count).collect());
        };
        let draws = self.draws.entry(question.subject.clone()).or_insert_with(|| PythonRandom::new(seed));
        if !self.is_same_file {
            return Ok(draws.sample(pool.len(), self.count).into_iter().map(|i| pool[i]).collect());
        }
        // lm-eval draws one more, in case that one is the question.
        let more = (self.count + 1).min(pool.len());
        let drawn = draws.sample(pool.len(), more).into_iter().map(|i| pool[i]).filter(|shot| is_other(shot));
        let drawn: Vec<&Question> = drawn.take(self.count).collect();
        if drawn.len() == self.count {
            return Ok(drawn);
        }
        Ok(draws.sample(others.len(), self.count).into_iter().map(|i| others[i]).collect())
    }
}
