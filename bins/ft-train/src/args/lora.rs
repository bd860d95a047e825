//! The adapter, in the words of peft's `LoraConfig`.

use std::path::PathBuf;

use ft_model::lora::{Layers, LoraConfig, Targets};
use serde_json::{Value, json};

use super::values::{Object, probability};

/// The adapter. The default rank and alpha are those of trl's `ModelConfig`, the rest peft's.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Adapter")]
pub struct LoraArgs {
    /// LoRA rank: rows of A and columns of B
    #[arg(long, alias = "r", value_name = "R", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    pub lora_r: u32,
    /// LoRA alpha: the adapter's output is scaled by lora_alpha / r
    #[arg(long, value_name = "ALPHA", default_value_t = 32.0)]
    pub lora_alpha: f64,
    /// Dropout probability on the adapter's input [default: 0, or that of --init-adapter]
    #[arg(long, value_name = "P", value_parser = probability)]
    pub lora_dropout: Option<f64>,
    /// Modules to adapt: all-linear, names, or a regular expression of the full name
    #[arg(long, aliases = ["lora-target-modules"], value_name = "MODULES", num_args = 1.., action = clap::ArgAction::Set,
        default_value = "all-linear")]
    pub target_modules: Vec<String>,
    /// Modules not to adapt, of those that --target-modules names
    #[arg(long, value_name = "MODULES", num_args = 1.., action = clap::ArgAction::Set)]
    pub exclude_modules: Vec<String>,
    /// Parameters of mixtures of experts to adapt (gate_up_proj, down_proj, gate.weight), beside those that
    /// --target-modules means by the experts' names or all-linear
    #[arg(long, alias = "lora-target-parameters", value_name = "PARAMETERS", num_args = 1.., value_delimiter = ',',
        action = clap::ArgAction::Set)]
    pub target_parameters: Vec<String>,
    /// Rank-stabilised LoRA: scale by lora_alpha / √r instead
    #[arg(long)]
    pub use_rslora: bool,
    /// DoRA: train a magnitude for each output beside the low-rank direction
    #[arg(long)]
    pub use_dora: bool,
    /// LoRA ranks of single modules, by name or regular expression: {"pattern": rank}
    #[arg(long, value_name = "JSON")]
    pub rank_pattern: Option<Object>,
    /// LoRA alphas of single modules, by name or regular expression: {"pattern": alpha}
    #[arg(long, value_name = "JSON")]
    pub alpha_pattern: Option<Object>,
    /// Layers to adapt, counted from 0 [default: all]
    #[arg(long, value_name = "LAYER", num_args = 1.., value_delimiter = ',', action = clap::ArgAction::Set)]
    pub layers_to_transform: Vec<usize>,
    /// Modules to train in full (not by LoRA) and save beside the adapter, such as embed_tokens and lm_head
    #[arg(long, alias = "lora-modules-to-save", value_name = "MODULES", num_args = 1.., value_delimiter = ',',
        action = clap::ArgAction::Set)]
    pub modules_to_save: Vec<String>,
    /// Bias vectors to train: none, all, or lora_only (those of adapted modules)
    #[arg(long, value_name = "WHICH", default_value = "none", value_parser = ["none", "all", "lora_only"])]
    pub bias: String,
    /// Initial adapter weights: true or default (Kaiming-uniform A, B = 0), gaussian, pissa, pissa_niter_N, or false
    /// (random A and B, for tests)
    #[arg(long, value_name = "INIT", default_value = "true", value_parser = init)]
    pub init_lora_weights: String,
    /// Start from this PEFT adapter; it then decides rank, alpha and modules
    #[arg(long, value_name = "DIR|FILE")]
    pub init_adapter: Option<PathBuf>,
}

impl LoraArgs {
    /// As `adapter_config.json` says it. What is not implemented is refused where the adapter is made.
    pub fn config(&self) -> LoraConfig {
        let mut config = LoraConfig::new(self.lora_r as usize, self.lora_alpha, &self.target_modules.join(","));
        config.lora_dropout = self.lora_dropout.unwrap_or(0.0);
        config.exclude_modules = targets(&self.exclude_modules);
        config.use_rslora = self.use_rslora;
        config.rank_pattern = self.rank_pattern.clone().unwrap_or_default().0;
        config.alpha_pattern = self.alpha_pattern.clone().unwrap_or_default().0;
        config.layers_to_transform =
            (!self.layers_to_transform.is_empty()).then(|| Layers::Many(self.layers_to_transform.clone()));
        config.bias.clone_from(&self.bias);
        config.init_lora_weights = match self.init_lora_weights.as_str() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            word => word.into(),
        };
        if !self.target_parameters.is_empty() {
            config.other.insert("target_parameters".into(), json!(self.target_parameters));
        }
        let modules = (!self.modules_to_save.is_empty()).then_some(&self.modules_to_save);
        config.other.insert("use_dora".into(), self.use_dora.into());
        config.other.insert("modules_to_save".into(), json!(modules));
        config
    }
}

fn targets(names: &[String]) -> Option<Targets> {
    // Never fails: what is no list of names is a regular expression.
    (!names.is_empty()).then(|| names.join(",").parse().ok()).flatten()
}

/// `init_lora_weights` as peft's file has it, but for `true` and `false`, which are words here.
fn init(text: &str) -> Result<String, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "default" => Ok("true".into()),
        word if matches!(word, "false" | "gaussian" | "pissa") || iterations(word).is_some() => Ok(word.into()),
        word => Err(format!(
            "'{word}' is not implemented; expected true (or default), false, gaussian, pissa or pissa_niter_N"
        )),
    }
}

/// The number of `pissa_niter_N`.
pub fn iterations(init: &str) -> Option<usize> {
    init.strip_prefix("pissa_niter_")?.parse().ok()
}
