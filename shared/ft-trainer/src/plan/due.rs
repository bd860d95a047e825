//! What is due after which step, as transformers' `DefaultFlowCallback` decides it.

use crate::options::{Interval, Options, SaveStrategy};

/// When a run logs, evaluates and saves.
#[derive(Debug, Clone)]
pub struct Due {
    log: Interval,
    log_every: Option<u64>,
    log_first: bool,
    evaluate: Interval,
    evaluate_every: Option<u64>,
    evaluate_delay: f64,
    save: SaveStrategy,
    save_every: Option<u64>,
}

/// Where a step stands in its run.
#[derive(Debug, Clone, Copy)]
pub struct At {
    /// Steps taken.
    pub step: u64,
    pub epoch: f64,
    /// An epoch ends here, or the run does.
    pub epoch_ends: bool,
    /// No step follows.
    pub last: bool,
}

impl Due {
    /// Of a run of `steps` steps.
    pub fn new(options: &Options, steps: u64) -> Self {
        let Options { log, evaluation, .. } = options;
        Self {
            log: log.logging_strategy,
            log_every: log.every(steps),
            log_first: log.logging_first_step,
            evaluate: evaluation.eval_strategy,
            evaluate_every: evaluation.eval_every(log, steps),
            evaluate_delay: evaluation.eval_delay,
            save: evaluation.save_strategy,
            save_every: evaluation.save_every(steps),
        }
    }

    /// Whether the loss is logged. Unlike Trainer, which drops what is left, the last step always is.
    pub fn logs(&self, at: At) -> bool {
        let by_steps = every(self.log_every, at.step) || (self.log_first && at.step == 1);
        let by_epochs = self.log == Interval::Epoch && at.epoch_ends;
        by_steps || by_epochs || (at.last && self.log != Interval::No)
    }

    /// Whether the model is evaluated; by steps also after the last one.
    pub fn evaluates(&self, at: At) -> bool {
        match self.evaluate {
            Interval::No => false,
            Interval::Steps => {
                self.evaluate_delay <= at.step as f64 && (every(self.evaluate_every, at.step) || at.last)
            }
            Interval::Epoch => self.evaluate_delay <= at.epoch && at.epoch_ends,
        }
    }

    /// Whether a checkpoint is written, whatever an evaluation finds; by steps also after the last one.
    pub fn saves(&self, at: At) -> bool {
        match self.save {
            SaveStrategy::No | SaveStrategy::Best => false,
            SaveStrategy::Steps => every(self.save_every, at.step) || (at.last && self.save_every.is_some()),
            SaveStrategy::Epoch => at.epoch_ends,
        }
    }

    /// Whether a checkpoint is written after each evaluation that is the best one.
    pub fn saves_the_best(&self) -> bool {
        self.save == SaveStrategy::Best
    }
}

fn every(steps: Option<u64>, step: u64) -> bool {
    steps.is_some_and(|every| step.is_multiple_of(every))
}
