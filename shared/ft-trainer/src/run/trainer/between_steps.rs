//! What is due before, between and after the steps: logs, evaluations, checkpoints, the best adapter.

use std::time::Instant;

use serde_json::json;

use super::{Outlets, Trainer};
use crate::engine::evaluation::{Evaluation, evaluate};
use crate::error::{Error, Result};
use crate::json::{Entry, entry, rounded};
use crate::plan::due::At;
use crate::run::Snapshot;
use crate::run::trainer_state::checkpoint_name;

impl Trainer<'_> {
    /// Before the first step: an evaluation that was asked for, or that the step a resume begins at still lacks.
    pub(super) fn before_steps(&mut self, to: &mut Outlets<'_>) -> Result<()> {
        if self.state.global_step == 0 {
            if self.options.evaluation.eval_on_start && self.state.evaluation(0).is_none() {
                self.evaluate(to)?;
            }
        } else if self.due.evaluates(self.at(false)) && self.state.evaluation(self.state.global_step).is_none() {
            self.evaluate_and_save(false, to)?;
        }
        Ok(())
    }

    /// What is due after a step, in Trainer's order: log, evaluation, checkpoint; and signals.
    pub(super) fn after_step(&mut self, to: &mut Outlets<'_>) -> Result<()> {
        let at = self.at(false);
        // Where every step since the last log was left out there is nothing to say.
        if self.due.logs(at) && self.window.steps > 0 {
            self.log_window(to)?;
        }
        self.evaluate_and_save(self.due.saves(at), to)?;
        if self.interrupted()? { Err(ft_io::Interrupted.into()) } else { Ok(()) }
    }

    /// Whether a signal came to any rank; all ranks ask together, and so act together.
    fn interrupted(&self) -> Result<bool> {
        Ok(ft_dist::any(&*self.setup.ranks, ft_io::interrupt::requested())?)
    }

    /// Where the run stands; an early end ends the epoch as well.
    fn at(&self, stopped: bool) -> At {
        let step = self.state.global_step;
        let last = step >= self.state.max_steps;
        let epoch_ends = stopped || last || step.is_multiple_of(self.sampler.steps_an_epoch());
        At { step, epoch: self.state.epoch, epoch_ends, last }
    }

    /// Evaluates where that is due, and writes a checkpoint where it is due or the evaluation asks for one. A signal
    /// leaves a checkpoint behind; what is not evaluated then is after the resume.
    fn evaluate_and_save(&mut self, mut save: bool, to: &mut Outlets<'_>) -> Result<()> {
        if self.due.evaluates(self.at(false)) && !self.interrupted()? {
            match self.evaluate(to) {
                Ok(found) => {
                    let verdict = self.best.judge(&mut self.state, &found)?;
                    save |= verdict.kept || (verdict.best && self.due.saves_the_best());
                }
                Err(error) if error.is_interrupt() => {
                    self.save(to)?;
                    return Err(error);
                }
                Err(error) => return Err(error),
            }
            if self.best.stops(&self.state) {
                let at = self.at(true);
                if self.due.logs(at) && self.window.steps > 0 {
                    self.log_window(to)?;
                }
                save |= self.due.saves(at);
            }
        }
        if save || self.interrupted()? { self.save(to) } else { Ok(()) }
    }

    /// Evaluates and logs what was found.
    fn evaluate(&mut self, to: &mut Outlets<'_>) -> Result<Entry> {
        let mut found = self.losses()?;
        found.extend(self.examine()?);
        if found.is_empty() {
            return Err(Error::Options("there are no rows to evaluate on; give --eval".into()));
        }
        self.log(found.clone(), to)?;
        Ok(found)
    }

    /// What the rows to evaluate on say; nothing where there are none.
    fn losses(&self) -> Result<Entry> {
        let Some(eval) = &self.setup.eval else { return Ok(Entry::new()) };
        let started = Instant::now();
        let batch_size = self.options.training.per_device_eval_batch_size as usize;
        let Evaluation { loss, accuracy } =
            evaluate(&self.setup.step(None), &self.setup.adapter, &eval.sequences, batch_size, &*self.setup.progress)?;
        let (seconds, rows) = (started.elapsed().as_secs_f64(), eval.sequences.len());
        Ok(entry(json!({
            "eval_loss": loss,
            "eval_mean_token_accuracy": accuracy,
            "eval_runtime": rounded(seconds, 4),
            "eval_samples_per_second": rounded(rows as f64 / seconds, 3),
            "eval_steps_per_second": rounded(rows.div_ceil(batch_size) as f64 / seconds, 3),
        })))
    }

    /// Writes a checkpoint, and removes those that are not to be kept.
    fn save(&mut self, to: &mut Outlets<'_>) -> Result<()> {
        let now = self.state.global_step;
        if self.saved == Some(now) {
            return Ok(());
        }
        let best = self.state.best_global_step.filter(|&step| step == now || to.checkpoints.holds(step));
        self.state.best_model_checkpoint = best.map(checkpoint_name);
        let ranks = &*self.setup.ranks;
        let (adapter, optimizer) = (&self.setup.adapter, &self.optimizer);
        to.checkpoints.save(&Snapshot { adapter, optimizer, state: &self.state, window: &self.window }, ranks)?;
        // The first rank has written it now.
        ranks.barrier()?;
        self.saved = Some(now);
        if ranks.rank() > 0 {
            return Ok(());
        }
        let mut protected: Vec<u64> = best.into_iter().collect();
        if self.best.ranks() {
            to.checkpoints.rank_best(&self.best, &self.state)?;
            protected.extend(self.best.ranked(&self.state.log_history).iter().map(|(step, _)| step));
        }
        // The best ones are kept beside the newest one alone, unless more are asked for.
        let limit = self.options.evaluation.save_total_limit.or(self.best.ranks().then_some(1));
        limit.map_or(Ok(()), |limit| to.checkpoints.rotate(limit as usize, &protected))
    }

    /// The index of the best checkpoints once more: a kill may have come between the last of them and its index.
    pub(super) fn rank_best(&self, to: &mut Outlets<'_>) -> Result<()> {
        if self.best.ranks() && self.setup.ranks.rank() == 0 {
            to.checkpoints.rank_best(&self.best, &self.state)?;
        }
        Ok(())
    }

    /// Takes the adapter of the best checkpoint, where that is asked for; gives the step that the adapter is of.
    pub(super) fn load_best(&mut self, to: &mut Outlets<'_>) -> Result<u64> {
        let now = self.state.global_step;
        let best = self.state.best_global_step.filter(|_| self.options.evaluation.load_best_model_at_end);
        let Some(step) = best.filter(|&step| step != now) else { return Ok(now) };
        match to.checkpoints.adapter(step)? {
            Some(adapter) => {
                self.setup.adapter = adapter;
                Ok(step)
            }
            None => Ok(now),
        }
    }

    /// The evaluation of the adapter that is written, which is that after step `step`.
    pub(super) fn last_evaluation(&mut self, step: u64, to: &mut Outlets<'_>) -> Result<Option<Entry>> {
        if self.setup.eval.is_none() && self.examiner.is_none() {
            return Ok(None);
        }
        if let Some(found) = self.state.evaluation(step) {
            return Ok(Some(found.clone()));
        }
        let evaluated = self.evaluate(to);
        if let Err(error) = &evaluated
            && error.is_interrupt()
            && step == self.state.global_step
        {
            self.save(to)?;
        }
        evaluated.map(Some)
    }

    fn log_window(&mut self, to: &mut Outlets<'_>) -> Result<()> {
        let window = std::mem::take(&mut self.window);
        let found = json!({
            "loss": window.loss / window.steps as f64,
            "grad_norm": window.grad_norm,
            "learning_rate": window.learning_rate,
            "mean_token_accuracy": window.correct as f64 / window.labels as f64,
            "num_tokens": self.state.num_input_tokens_seen,
        });
        self.log(entry(found), to)
    }

    /// Adds epoch and step to an entry, and writes it wherever entries go.
    pub(super) fn log(&mut self, mut entry: Entry, to: &mut Outlets<'_>) -> Result<()> {
        entry.insert("epoch".into(), json!(rounded(self.state.epoch, 6)));
        entry.insert("step".into(), json!(self.state.global_step));
        to.observer.logged(self.state.global_step, &entry)?;
        self.state.log_history.push(entry);
        Ok(())
    }

    /// The keys of Trainer's `train_results.json`.
    pub(super) fn train_results(&self) -> Entry {
        let began = &self.began;
        let seconds = began.steps.elapsed().as_secs_f64();
        let steps = self.state.global_step - began.step;
        let samples = steps as f64 * self.options.training.sequences_a_step(self.setup.ranks.world()) as f64;
        let tokens = self.state.num_input_tokens_seen - began.tokens;
        entry(json!({
            "train_loss": began.loss / began.taken.max(1) as f64,
            "train_runtime": rounded(seconds, 4),
            "train_samples_per_second": rounded(samples / seconds, 3),
            "train_steps_per_second": rounded(steps as f64 / seconds, 3),
            "train_tokens_per_second": rounded(tokens as f64 / seconds, 3),
            "total_flos": self.state.total_flos,
            "epoch": rounded(self.state.epoch, 6),
        }))
    }
}
