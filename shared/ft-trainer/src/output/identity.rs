//! What a run is: its inputs' digests and its configuration. A checkpoint carries it, so that a resume that would go on
//! with other mathematics is refused by the name of what differs.

use std::path::Path;

use ft_io::NamedValue;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Context, Error, Result};
use crate::json::write_json;
use crate::options::MixedPrecision;
use crate::output::digest::InputFile;

const FILE: &str = "configuration.json";

/// Arguments that change no bit of a step, or, as the number of steps, only where the run ends and its schedule: they
/// may change when a run goes on. Whatever is not listed here may not.
const FREE: &[&str] = &[
    "model",
    "train",
    "eval",
    "eval_generate",
    // Its digest is compared.
    "init_adapter",
    "eval_max_new_tokens",
    "output_dir",
    "resume_from_checkpoint",
    "verify",
    "verify_steps",
    "dry_run",
    "max_steps",
    "num_train_epochs",
    "per_device_eval_batch_size",
    "logging_strategy",
    "logging_steps",
    "logging_first_step",
    "report_to",
    "log_rows",
    "run_name",
    "log_level",
    "log_format",
    "disable_tqdm",
    "threads",
    "eval_strategy",
    "eval_steps",
    "eval_on_start",
    "eval_delay",
    "save_strategy",
    "save_steps",
    "save_total_limit",
    "save_best_k",
    "load_best_model_at_end",
    "metric_for_best_model",
    "greater_is_better",
    "early_stopping_patience",
    "early_stopping_threshold",
    "activation_memory",
    "gradient_checkpointing",
    "offload_param_device",
    "tf32",
    "nproc_per_node",
    "sharding",
    "fsdp_reshard_after_forward",
    "ddp_backend",
    "ddp_timeout",
    "rdzv_timeout",
    "inject_failure",
    "offload_optimizer_device",
    // Another device has other roundings, as another build of a driver has.
    "device",
    "reference_operators",
    // Together they say one thing, which is compared below.
    "precision",
    "bf16",
    "fp16",
    // Their product counts, with the number of ranks, which is compared below.
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
];

/// What a run is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Identity {
    pub train_sha256: String,
    #[serde(default)]
    pub initial_adapter_sha256: String,
    pub model: Vec<InputFile>,
    /// Steps that the schedule was laid out for.
    pub max_steps: u64,
    /// Ranks that trained together.
    #[serde(default = "one")]
    pub world_size: u64,
    /// Where it was taken up again, the earliest first.
    #[serde(default)]
    pub resumed: Vec<Resume>,
    pub configuration: Map<String, Value>,
    /// Arguments that mean nothing here, and so may differ.
    #[serde(skip)]
    pub without_effect: Vec<String>,
}

/// That a run was taken up again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    pub after_step: u64,
    /// Steps that the schedule had been laid out for until then.
    pub max_steps_before: u64,
}

impl Identity {
    /// In a checkpoint.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        write_json(&dir.join(FILE), &serde_json::to_value(self)?)
    }

    /// In a checkpoint.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let text = std::fs::read(&path).with_context(|| format!("cannot read '{}'", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("'{}' is damaged", path.display()))
    }

    /// What the record of a finished run says.
    ///
    /// # Errors
    /// Names the key that is missing or wrong.
    pub fn of_record(record: &Value) -> Result<Self> {
        let part = |key: &str| record.get(key).cloned().ok_or_else(|| Error::Checkpoint(format!("it has no '{key}'")));
        Ok(Self {
            train_sha256: serde_json::from_value::<InputFile>(part("train")?)?.sha256,
            initial_adapter_sha256: serde_json::from_value(part("initial_adapter_sha256")?)?,
            model: serde_json::from_value(part("model")?)?,
            max_steps: serde_json::from_value(part("max_steps")?)?,
            world_size: record.get("world_size").and_then(Value::as_u64).unwrap_or(1),
            resumed: serde_json::from_value(part("resumed")?)?,
            configuration: serde_json::from_value(part("configuration")?)?,
            without_effect: Vec::new(),
        })
    }

    /// Refuses what is of another run: a checkpoint, or a finished run's record.
    ///
    /// # Errors
    /// Names each thing that differs, what it was and what it is.
    pub fn require_same(&self, saved: &Self, of: &str) -> Result<()> {
        let mut differ = Vec::new();
        if self.train_sha256 != saved.train_sha256 {
            differ.push(changed("the training rows", &short(&saved.train_sha256), &short(&self.train_sha256)));
        }
        if let Some((was, is)) = self.sequences(saved) {
            differ.push(changed("sequences in a step", &was, &is));
        }
        let (was, is) = (precision(&saved.configuration), precision(&self.configuration));
        if was != is {
            differ.push(changed("precision", &was.name(), &is.name()));
        }
        let free = |key: &str| FREE.contains(&key) || self.without_effect.iter().any(|name| name == key);
        for (key, was) in &saved.configuration {
            match self.configuration.get(key) {
                Some(is) if canonical(is) != canonical(was) && !free(key) => differ.push(changed(key, was, is)),
                _ => {}
            }
        }
        if self.model != saved.model {
            let names = |files: &[InputFile]| {
                let one = |f: &InputFile| format!("{} {}", f.name, short(&f.sha256));
                files.iter().map(one).collect::<Vec<_>>().join(", ")
            };
            differ.push(changed("the model", &names(&saved.model), &names(&self.model)));
        }
        if differ.is_empty() && self.initial_adapter_sha256 != saved.initial_adapter_sha256 {
            let (was, is) = (short(&saved.initial_adapter_sha256), short(&self.initial_adapter_sha256));
            differ.push(changed("the initial adapter", &was, &is));
        }
        if differ.is_empty() {
            return Ok(());
        }
        Err(Error::Checkpoint(format!(
            "{of} is of another run: {}; give what it was, or begin anew in another folder",
            differ.join("; ")
        )))
    }

    /// The sequences in a step, of that run and of this, where they differ.
    fn sequences(&self, saved: &Self) -> Option<(u64, u64)> {
        let product = |identity: &Self| {
            let of = |key: &str| identity.configuration.get(key).and_then(Value::as_u64);
            Some(of("per_device_train_batch_size")? * of("gradient_accumulation_steps")? * identity.world_size)
        };
        Some((product(saved)?, product(self)?)).filter(|(was, is)| was != is)
    }
}

/// What a configuration asks for, in whichever words.
fn precision(configuration: &Map<String, Value>) -> MixedPrecision {
    let word = configuration.get("precision").and_then(Value::as_str);
    let on = |key: &str| configuration.get(key) == Some(&Value::Bool(true));
    match word.and_then(MixedPrecision::named) {
        Some(said) if said != MixedPrecision::Auto => said,
        _ if on("bf16") => MixedPrecision::Bf16,
        _ if on("fp16") => MixedPrecision::Fp16,
        _ => MixedPrecision::Auto,
    }
}

fn one() -> u64 {
    1
}

/// Optimizers that differ only in where their moments are have one name.
fn canonical(value: &Value) -> Value {
    match value.as_str() {
        Some("paged_adamw_32bit" | "adamw_torch_fused") => "adamw_torch".into(),
        Some(name) if name.starts_with("paged_") => name["paged_".len()..].into(),
        _ => value.clone(),
    }
}

fn changed(what: &str, was: &dyn std::fmt::Display, is: &dyn std::fmt::Display) -> String {
    format!("{what} was {was} and is {is}")
}

fn short(sha256: &str) -> String {
    format!("{}…", &sha256[..sha256.len().min(12)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::entry;
    use serde_json::json;

    fn identity(train: &str, configuration: Value) -> Identity {
        Identity {
            train_sha256: train.repeat(32),
            initial_adapter_sha256: String::new(),
            model: Vec::new(),
            max_steps: 6,
            world_size: 1,
            resumed: Vec::new(),
            configuration: entry(configuration),
            without_effect: Vec::new(),
        }
    }

    #[test]
    fn what_differs_is_named_and_what_may_differ_is_not() {
        let cut = |batch: u32, accumulation: u32, rate: f64, threads: u32| {
            json!({"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation,
                   "learning_rate": rate, "threads": threads, "max_steps": threads})
        };
        let saved = identity("ab", cut(4, 1, 0.01, 1));
        let of = "'out/checkpoint-4'";
        identity("ab", cut(1, 4, 0.01, 2)).require_same(&saved, of).unwrap();
        let told = identity("cd", cut(2, 4, 0.02, 2)).require_same(&saved, of).unwrap_err().to_string();
        for words in [
            "'out/checkpoint-4' is of another run",
            "the training rows was abababababab… and is cdcdcdcdcdcd…",
            "sequences in a step was 4 and is 8",
            "learning_rate was 0.01 and is 0.02",
        ] {
            assert!(told.contains(words), "{words}: {told}");
        }
        assert!(!told.contains("threads") && !told.contains("max_steps"), "{told}");
    }

    #[test]
    fn a_precision_is_the_same_in_any_words() {
        let saved = identity("ab", json!({"precision": "auto", "bf16": true, "fp16": false}));
        for same in [json!({"precision": "bfloat16", "bf16": false}), json!({"bf16": true})] {
            identity("ab", same).require_same(&saved, "it").unwrap();
        }
        let other = identity("ab", json!({"precision": "auto", "fp16": true}));
        let told = other.require_same(&saved, "it").unwrap_err().to_string();
        assert!(told.contains("precision was bf16 and is fp16; give"), "{told}");
    }
}
