//! The learning rate of each step, as transformers' `get_scheduler` gives it.

mod shape;

use crate::error::Result;
use crate::options::TrainingOptions;
use shape::Shape;

/// A learning-rate schedule over a known number of steps.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    shape: Shape,
    peak: f64,
    warmup: f64,
    steps: f64,
}

impl Schedule {
    /// The schedule of a run of `steps` steps.
    ///
    /// # Errors
    /// What `--lr-scheduler-kwargs` lacks, or has and should not have.
    pub fn new(options: &TrainingOptions, steps: u64) -> Result<Self> {
        let shape = Shape::read(options)?;
        let ratio = if options.warmup_steps > 0.0 { options.warmup_steps } else { options.warmup_ratio };
        // As transformers: below 1 it is a share of the steps, rounded up; above, what it is without its fraction.
        let warmup =
            if options.warmup_steps >= 1.0 { options.warmup_steps.trunc() } else { (steps as f64 * ratio).ceil() };
        Ok(Self { shape, peak: options.learning_rate, warmup, steps: steps as f64 })
    }

    /// The learning rate of step `step`, counted from 0.
    pub fn learning_rate(&self, step: u64) -> f64 {
        self.peak * self.shape.factor(step as f64, self.warmup, self.steps, self.peak)
    }

    /// The highest learning rate of the run: every shape rises in its warmup, if at all, and is never higher than right
    /// behind it, so a few steps tell it, however many there are.
    pub fn highest(&self) -> f64 {
        let last = (self.steps as u64).saturating_sub(1);
        let end = self.warmup_steps();
        let candidates = [0, end.saturating_sub(1), end, end.saturating_add(1), last];
        candidates.into_iter().map(|step| self.learning_rate(step.min(last))).fold(0.0, f64::max)
    }

    /// Steps over which the learning rate rises.
    pub fn warmup_steps(&self) -> u64 {
        self.warmup as u64
    }
}

#[cfg(test)]
mod tests;
