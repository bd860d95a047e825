//! What is logged, in the keys and files of Hugging Face's Trainer.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ft_cli::AtomicFile;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// `trainer_state.json`: where a run stands.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    pub global_step: u64,
    pub max_steps: u64,
    pub epoch: f64,
    pub num_train_epochs: u64,
    pub num_input_tokens_seen: u64,
    pub train_batch_size: u32,
    pub logging_steps: u64,
    pub eval_steps: u64,
    pub save_steps: u64,
    pub log_history: Vec<Map<String, Value>>,
}

/// What was seen since the last log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    pub steps: u64,
    pub loss: f64,
    pub labels: usize,
    pub correct: usize,
}

impl State {
    /// As Trainer writes it: sorted keys, two blanks of indent.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let nothing = Value::Null;
        let mut all = json!({
            "best_global_step": nothing, "best_metric": nothing, "best_model_checkpoint": nothing,
            "is_hyper_param_search": false, "is_local_process_zero": true, "is_world_process_zero": true,
            "stateful_callbacks": {}, "total_flos": 0.0, "trial_name": nothing, "trial_params": nothing,
        });
        if let (Value::Object(all), Value::Object(own)) = (&mut all, serde_json::to_value(self)?) {
            all.extend(own);
            all.sort_keys();
        }
        write_json(&dir.join("trainer_state.json"), &all)
    }

    /// Reads what [`Self::save`] wrote.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("trainer_state.json");
        let text = std::fs::read(&path).with_context(|| format!("cannot read '{}'", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("'{}' is no trainer state", path.display()))
    }
}

/// `metrics.jsonl`, a JSON object a line; nothing where the adapter goes to a pipe.
pub struct Metrics {
    path: PathBuf,
    file: Option<File>,
}

impl Metrics {
    /// Starts the file of a run anew with what is already logged (after a resume).
    pub fn create(dir: Option<&Path>, history: &[Map<String, Value>]) -> Result<Self> {
        let path = dir.unwrap_or(Path::new("")).join("metrics.jsonl");
        let file = dir.map(|_| File::create(&path)).transpose();
        let file = file.with_context(|| format!("cannot write '{}'", path.display()))?;
        let mut metrics = Self { path, file };
        history.iter().try_for_each(|entry| metrics.write(entry))?;
        Ok(metrics)
    }

    pub fn write(&mut self, entry: &Map<String, Value>) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        file.write_all(&line).with_context(|| format!("cannot write '{}'", self.path.display()))
    }
}

/// Writes a JSON file of Trainer's style in one go.
pub fn write_json(path: &Path, value: &Value) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    file.write_all(&text).with_context(|| format!("cannot write '{}'", path.display()))?;
    Ok(file.commit()?)
}

/// A number rounded as people read it; the full one is in memory only.
pub fn rounded(x: f64, digits: i32) -> f64 {
    let factor = 10f64.powi(digits);
    (x * factor).round() / factor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_comes_back_and_has_trainers_keys_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let state = State { global_step: 7, epoch: 0.25, ..State::default() };
        state.save(dir.path()).unwrap();
        let again = State::load(dir.path()).unwrap();
        assert_eq!((again.global_step, again.epoch.to_bits()), (7, 0.25f64.to_bits()));
        let text = std::fs::read_to_string(dir.path().join("trainer_state.json")).unwrap();
        let keys: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("  \"")?.split('"').next()).collect();
        assert!(keys.is_sorted() && keys.contains(&"best_metric") && keys.contains(&"log_history"), "{keys:?}");
    }
}
