//! Where a run stands, in the keys and files of Hugging Face's Trainer.

use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::engine::loss_scale::LossScale;
use crate::error::{Context, Result};
use crate::json::{Entry, write_json};

/// The loss scale of half precision, as Trainer has a `scaler.pt`.
const SCALER: &str = "scaler.json";

/// `trainer_state.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct TrainerState {
    pub global_step: u64,
    pub max_steps: u64,
    pub epoch: f64,
    pub num_train_epochs: u64,
    pub num_input_tokens_seen: u64,
    pub total_flos: f64,
    pub train_batch_size: u32,
    pub logging_steps: u64,
    pub eval_steps: u64,
    pub save_steps: u64,
    /// The best value of `--metric-for-best-model` so far, and the step after which it was found.
    #[serde(default)]
    pub best_metric: Option<f64>,
    #[serde(default)]
    pub best_global_step: Option<u64>,
    /// The best checkpoint's name in the output folder, which may be moved with it.
    #[serde(default)]
    pub best_model_checkpoint: Option<String>,
    #[serde(default)]
    pub stateful_callbacks: Callbacks,
    /// The loss scale of half precision, where there is one: in a file of its own, for Trainer's state has no key for it.
    #[serde(skip)]
    pub loss_scale: Option<LossScale>,
    pub log_history: Vec<Entry>,
}

/// What Trainer's callbacks remember.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Callbacks {
    #[serde(rename = "EarlyStoppingCallback", default, skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStopping>,
    #[serde(rename = "TrainerControl", default)]
    pub control: Control,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct EarlyStopping {
    pub args: Patience,
    pub attributes: Counter,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Patience {
    pub early_stopping_patience: u32,
    pub early_stopping_threshold: f64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Counter {
    /// Evaluations since the last one that was better.
    pub early_stopping_patience_counter: u32,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Control {
    pub args: Flags,
    pub attributes: Map<String, Value>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Flags {
    pub should_training_stop: bool,
    pub should_epoch_stop: bool,
    pub should_save: bool,
    pub should_evaluate: bool,
    pub should_log: bool,
}

/// What was seen since the last log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LogWindow {
    pub steps: u64,
    pub loss: f64,
    pub labels: usize,
    pub correct: usize,
    /// Of the last step.
    pub grad_norm: f64,
    pub learning_rate: f64,
}

impl TrainerState {
    /// As Trainer writes it: sorted keys, two blanks of indent.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let nothing = Value::Null;
        let mut all = json!({
            "is_hyper_param_search": false, "is_local_process_zero": true, "is_world_process_zero": true,
            "trial_name": nothing, "trial_params": nothing,
        });
        if let (Value::Object(all), Value::Object(own)) = (&mut all, serde_json::to_value(self)?) {
            all.extend(own);
            all.sort_keys();
        }
        if let Some(scale) = &self.loss_scale {
            write_json(&dir.join(SCALER), &serde_json::to_value(scale)?)?;
        }
        write_json(&dir.join("trainer_state.json"), &all)
    }

    /// Reads what [`Self::save`] wrote.
    ///
    /// # Errors
    /// If it is missing or damaged.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("trainer_state.json");
        let text = std::fs::read(&path).with_context(|| format!("cannot read '{}'", path.display()))?;
        let state: Self =
            serde_json::from_slice(&text).with_context(|| format!("'{}' is no trainer state", path.display()))?;
        let path = dir.join(SCALER);
        let loss_scale = match std::fs::read(&path) {
            Ok(text) => {
                Some(serde_json::from_slice(&text).with_context(|| format!("'{}' is no loss scale", path.display()))?)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("cannot read '{}'", path.display())),
        };
        Ok(Self { loss_scale, ..state })
    }

    /// A saved state with what `fresh` says of the rest of the run.
    #[must_use]
    pub fn going_on(self, fresh: &Self) -> Self {
        let Self { max_steps, num_train_epochs, train_batch_size, logging_steps, eval_steps, save_steps, .. } = *fresh;
        Self { max_steps, num_train_epochs, train_batch_size, logging_steps, eval_steps, save_steps, ..self }
    }

    /// The evaluation after step `step`, where there was one.
    pub fn evaluation(&self, step: u64) -> Option<&Entry> {
        self.log_history.iter().rev().find(|entry| is_evaluation(entry) && step_of(entry) == Some(step))
    }
}

/// What the checkpoint after step `step` is called.
pub fn checkpoint_name(step: u64) -> String {
    format!("checkpoint-{step}")
}

/// Whether an entry is an evaluation's.
pub fn is_evaluation(entry: &Entry) -> bool {
    entry.keys().any(|key| key.starts_with("eval_"))
}

/// The step after which an entry was logged.
pub fn step_of(entry: &Entry) -> Option<u64> {
    entry.get("step")?.as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::entry;

    #[test]
    fn the_state_comes_back_to_the_last_bit_and_has_trainers_keys_in_order() {
        let dir = tempfile::tempdir().unwrap();
        // A number that serde_json's quick way of reading gets wrong in the last bit.
        let loss = 3.560_223_579_406_738_3_f64;
        let logged = entry(json!({"loss": loss, "step": 7}));
        let loss_scale = Some(LossScale::default());
        let state = TrainerState {
            global_step: 7,
            epoch: 0.1 + 0.2,
            log_history: vec![logged],
            loss_scale,
            ..TrainerState::default()
        };
        state.save(dir.path()).unwrap();
        let again = TrainerState::load(dir.path()).unwrap();
        assert_eq!((again.global_step, again.epoch.to_bits()), (7, state.epoch.to_bits()));
        assert_eq!(again.loss_scale, state.loss_scale);
        assert_eq!(again.log_history[0]["loss"].as_f64().unwrap().to_bits(), loss.to_bits());
        let text = std::fs::read_to_string(dir.path().join("trainer_state.json")).unwrap();
        let keys: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("  \"")?.split('"').next()).collect();
        // The fields of `TrainerState` in transformers 5.23.
        let theirs = [
            "best_global_step",
            "best_metric",
            "best_model_checkpoint",
            "epoch",
            "eval_steps",
            "global_step",
            "is_hyper_param_search",
            "is_local_process_zero",
            "is_world_process_zero",
            "log_history",
            "logging_steps",
            "max_steps",
            "num_input_tokens_seen",
            "num_train_epochs",
            "save_steps",
            "stateful_callbacks",
            "total_flos",
            "train_batch_size",
            "trial_name",
            "trial_params",
        ];
        assert_eq!(keys, theirs);
    }
}
