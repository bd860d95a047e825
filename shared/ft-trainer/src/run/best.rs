//! Which evaluation is the best one, which checkpoints it keeps, and when to stop waiting for a better one.

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::json::Entry;
use crate::options::{EvaluationOptions, SaveStrategy};
use crate::run::trainer_state::{
    Counter, EarlyStopping, Patience, TrainerState, checkpoint_name, is_evaluation, step_of,
};

/// How evaluations are compared.
#[derive(Debug, Clone)]
pub struct BestTracker {
    metric: String,
    more_is_better: bool,
    /// Whether the best one is followed at all.
    followed: bool,
    /// Whether the best one has a checkpoint.
    saved: bool,
    keep: usize,
    patience: Option<u32>,
    threshold: f64,
}

/// What an evaluation means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// It is the best so far.
    pub best: bool,
    /// It is one of the best that are kept.
    pub kept: bool,
}

impl BestTracker {
    pub fn new(options: &EvaluationOptions) -> Self {
        let w = options;
        let by_best = w.save_strategy == SaveStrategy::Best;
        Self {
            metric: w.best_metric(),
            more_is_better: w.more_is_better(),
            followed: w.metric_for_best_model.is_some()
                || w.load_best_model_at_end
                || w.early_stopping_patience.is_some()
                || w.save_best_k.is_some()
                || by_best,
            saved: w.save_strategy != SaveStrategy::No || w.save_best_k.is_some(),
            keep: w.save_best_k.unwrap_or(0) as usize,
            patience: w.early_stopping_patience,
            threshold: w.early_stopping_threshold,
        }
    }

    /// Whether checkpoints are ranked.
    pub fn ranks(&self) -> bool {
        self.keep > 0
    }

    /// Takes note of the evaluation that `state` logged last: as transformers' `EarlyStoppingCallback`, which sees it
    /// first, and then its `_determine_best_metric`.
    ///
    /// # Errors
    /// If the evaluation has no such metric.
    pub fn judge(&self, state: &mut TrainerState, found: &Entry) -> Result<Verdict> {
        if !self.followed {
            return Ok(Verdict { best: false, kept: false });
        }
        let Some(value) = found.get(&self.metric).and_then(Value::as_f64) else {
            let there: Vec<&str> = found.keys().map(String::as_str).filter(|key| key.starts_with("eval_")).collect();
            return Err(Error::Metric(format!(
                "--metric-for-best-model {}: an evaluation has only {}",
                self.metric,
                there.join(", ")
            )));
        };
        let better = state.best_metric.is_none_or(|best| self.better(value, best));
        let by_enough = state.best_metric.is_none_or(|best| (value - best).abs() > self.threshold);
        self.count(state, better && by_enough);
        if better {
            state.best_metric = Some(value);
            if self.saved {
                state.best_global_step = Some(state.global_step);
            }
        }
        let kept = self.ranked(&state.log_history).iter().any(|(step, _)| *step == state.global_step);
        Ok(Verdict { best: better, kept })
    }

    fn better(&self, value: f64, than: f64) -> bool {
        if self.more_is_better { value > than } else { value < than }
    }

    /// Counts the evaluations in a row that were not better by enough.
    fn count(&self, state: &mut TrainerState, better: bool) {
        let Some(patience) = self.patience else { return };
        let before = state.stateful_callbacks.early_stopping.take().map_or(0, |early| early.attributes.counter());
        state.stateful_callbacks.early_stopping = Some(EarlyStopping {
            args: Patience { early_stopping_patience: patience, early_stopping_threshold: self.threshold },
            attributes: Counter { early_stopping_patience_counter: if better { 0 } else { before + 1 } },
        });
    }

    /// Whether patience has run out.
    pub fn stops(&self, state: &TrainerState) -> bool {
        let counted = state.stateful_callbacks.early_stopping.as_ref().map_or(0, |early| early.attributes.counter());
        self.patience.is_some_and(|patience| counted >= patience)
    }

    /// The steps of the best evaluations and what they found, the best first; of equal ones the earlier. Each of them
    /// has a checkpoint: whoever is among the best now was when it was found.
    pub fn ranked(&self, history: &[Entry]) -> Vec<(u64, f64)> {
        let found = |entry: &Entry| Some((step_of(entry)?, entry.get(&self.metric)?.as_f64()?));
        let evaluations = history.iter().filter(|entry| is_evaluation(entry));
        let mut all: Vec<(u64, f64)> = evaluations.filter_map(found).filter(|(step, _)| *step > 0).collect();
        all.sort_by(|(_, a), (_, b)| match a.total_cmp(b) {
            order if self.more_is_better => order.reverse(),
            order => order,
        });
        all.dedup_by_key(|(step, _)| *step);
        all.truncate(self.keep);
        all
    }

    /// `best_checkpoints.json`: the best checkpoints, the best first.
    pub fn index(&self, history: &[Entry]) -> Value {
        let ranked = self.ranked(history);
        let entries = ranked.iter().enumerate().map(|(i, (step, value))| {
            json!({"rank": i + 1, "checkpoint": checkpoint_name(*step), "step": step, &self.metric: value})
        });
        json!({
            "metric": self.metric,
            "greater_is_better": self.more_is_better,
            "best": entries.collect::<Vec<_>>(),
        })
    }
}

impl Counter {
    fn counter(&self) -> u32 {
        self.early_stopping_patience_counter
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::entry;
    use crate::options::Interval;

    fn best(options: EvaluationOptions) -> BestTracker {
        BestTracker::new(&EvaluationOptions { eval_strategy: Interval::Steps, ..options })
    }

    /// The counter, the best metric and whether it stops, after each of these losses.
    fn course(best: &BestTracker, losses: &[f64]) -> Vec<(u32, f64, bool)> {
        let mut state = TrainerState::default();
        let mut course = Vec::new();
        for loss in losses {
            state.global_step += 1;
            let found = entry(json!({"eval_loss": loss, "step": state.global_step}));
            state.log_history.push(found.clone());
            best.judge(&mut state, &found).unwrap();
            let counted = state.stateful_callbacks.early_stopping.as_ref().unwrap().attributes.counter();
            course.push((counted, state.best_metric.unwrap(), best.stops(&state)));
        }
        course
    }

    /// What transformers 5.23 does with these losses: an improvement below the threshold counts as none, and yet moves
    /// the best metric that later ones are held against.
    #[test]
    fn patience_is_transformers() {
        let found = course(
            &best(EvaluationOptions {
                early_stopping_patience: Some(2),
                early_stopping_threshold: 0.1,
                ..EvaluationOptions::default()
            }),
            &[2.0, 1.95, 1.8, 1.9, 1.85],
        );
        let expected = [(0, 2.0, false), (1, 1.95, false), (0, 1.8, false), (1, 1.8, false), (2, 1.8, true)];
        assert_eq!(found, expected);
    }

    #[test]
    fn more_may_be_better_and_unknown_metrics_are_named() {
        let more = best(EvaluationOptions {
            early_stopping_patience: Some(1),
            metric_for_best_model: Some("mean_token_accuracy".into()),
            save_best_k: Some(2),
            ..EvaluationOptions::default()
        });
        let mut state = TrainerState { global_step: 1, ..TrainerState::default() };
        for (step, accuracy) in [(1, 0.2), (2, 0.5), (3, 0.4)] {
            state.global_step = step;
            let found = entry(json!({"eval_loss": 1.0, "eval_mean_token_accuracy": accuracy, "step": step}));
            state.log_history.push(found.clone());
            more.judge(&mut state, &found).unwrap();
        }
        assert_eq!((state.best_metric, state.best_global_step, more.stops(&state)), (Some(0.5), Some(2), true));
        assert_eq!(more.ranked(&state.log_history), [(2, 0.5), (3, 0.4)]);
        let told = best(EvaluationOptions { metric_for_best_model: Some("f1".into()), ..EvaluationOptions::default() })
            .judge(&mut state, &entry(json!({"eval_loss": 1.0})))
            .unwrap_err();
        assert!(told.to_string().contains("eval_f1: an evaluation has only eval_loss"), "{told}");
    }
}
