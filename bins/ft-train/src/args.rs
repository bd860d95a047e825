//! What is typed. The names are Hugging Face's, in kebab case.

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Parser, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  ft-train --model SmolLM2.gguf --train train.parquet --eval test.parquet --output-dir out
  ft-template --model SmolLM2.gguf rows.parquet -o - | ft-train --model SmolLM2.gguf --train - -o - > adapter.safetensors

OUT holds adapter_config.json and adapter_model.safetensors, which peft and ft-merge read;
metrics.jsonl, a JSON object a logged step; trainer_state.json, train_results.json and
all_results.json as Hugging Face's Trainer writes them; run.json, what the run was; and
checkpoint-N/ every --save-steps, from which --resume-from-checkpoint goes on to the same bits.";

/// Fine-tune a language model with LoRA, on tokens that ft-template made.
///
/// The base model stays frozen and is never written. The result depends on the inputs, these flags and
/// the seed alone: not on threads, memory, or how a step's batch is cut into micro-batches.
#[derive(Debug, Clone, Parser)]
#[command(name = "ft-train", version, after_help = EXAMPLES)]
pub struct Args {
    /// The base model: a Hugging Face folder or a GGUF file
    #[arg(long, value_name = "DIR|GGUF")]
    pub model: PathBuf,
    /// Tokens to train on: any Parquet with input_ids and labels ('-' reads a pipe)
    #[arg(long, value_name = "FILE|-")]
    pub train: PathBuf,
    /// Tokens to evaluate on, every --eval-steps and at the end
    #[arg(long, value_name = "FILE")]
    pub eval: Option<PathBuf>,
    /// Where the adapter goes: a folder, or '-' for one safetensors file to a pipe
    #[arg(short, long, value_name = "DIR|-")]
    pub output_dir: PathBuf,
    /// Write into an output folder that already holds a run
    #[arg(long)]
    pub overwrite_output_dir: bool,
    /// Go on from this checkpoint; without a value, from the newest whole one in the output folder
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "", value_parser = path_or_nothing())]
    pub resume_from_checkpoint: Option<PathBuf>,

    #[command(flatten)]
    pub lora: LoraArgs,
    #[command(flatten)]
    pub training: TrainingArgs,
    #[command(flatten)]
    pub memory: MemoryArgs,
    #[command(flatten)]
    pub common: ft_cli::Common,
}

/// The adapter.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Adapter")]
pub struct LoraArgs {
    /// Rank of the adapter's matrices
    #[arg(long, value_name = "R", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    pub lora_r: u32,
    /// The adapter's output is multiplied by lora_alpha / r
    #[arg(long, value_name = "ALPHA", default_value_t = 32.0)]
    pub lora_alpha: f64,
    /// Probability of dropping an element of an adapter's input
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = probability)]
    pub lora_dropout: f64,
    /// Modules to adapt: all-linear, names separated by commas, or a regular expression of the full name
    #[arg(long, value_name = "MODULES", default_value = "all-linear")]
    pub target_modules: String,
    /// Start from this PEFT adapter; it then decides rank, alpha and modules
    #[arg(long, value_name = "DIR|FILE", conflicts_with_all = ["lora_r", "lora_alpha", "target_modules"])]
    pub init_adapter: Option<PathBuf>,
}

/// The run.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Training")]
pub struct TrainingArgs {
    /// Peak learning rate
    #[arg(long, value_name = "LR", default_value_t = 2e-4, value_parser = not_negative)]
    pub learning_rate: f64,
    /// How the learning rate falls after the warm-up
    #[arg(long, value_name = "TYPE", value_enum, default_value = "cosine")]
    pub lr_scheduler_type: SchedulerType,
    /// Share of the steps over which the learning rate rises from 0
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub warmup_ratio: f64,
    /// Steps over which the learning rate rises from 0 (below 1: a share); wins over --warmup-ratio
    #[arg(long, value_name = "N", default_value_t = 0.0, value_parser = not_negative)]
    pub warmup_steps: f64,
    /// Times to go through the training rows
    #[arg(long, value_name = "N", default_value_t = 3.0, value_parser = not_negative)]
    pub num_train_epochs: f64,
    /// Steps to take, whatever the epochs; -1 leaves it to the epochs
    #[arg(long, value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    pub max_steps: i64,
    /// Sequences in a micro-batch
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub per_device_train_batch_size: u32,
    /// Sequences in an evaluation batch
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub per_device_eval_batch_size: u32,
    /// Micro-batches in an optimizer step
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub gradient_accumulation_steps: u32,
    /// AdamW's decoupled weight decay
    #[arg(long, value_name = "DECAY", default_value_t = 0.0, value_parser = not_negative)]
    pub weight_decay: f64,
    /// AdamW's decay of the first moment
    #[arg(long, value_name = "BETA", default_value_t = 0.9, value_parser = probability)]
    pub adam_beta1: f64,
    /// AdamW's decay of the second moment
    #[arg(long, value_name = "BETA", default_value_t = 0.999, value_parser = probability)]
    pub adam_beta2: f64,
    /// AdamW's epsilon
    #[arg(long, value_name = "EPS", default_value_t = 1e-8, value_parser = not_negative)]
    pub adam_epsilon: f64,
    /// Longest gradient that is not shortened; 0 is no clipping
    #[arg(long, value_name = "NORM", default_value_t = 1.0, value_parser = not_negative)]
    pub max_grad_norm: f64,
    /// Seed of the initial adapter, the order of the rows and dropout
    #[arg(long, value_name = "SEED", default_value_t = 42)]
    pub seed: u64,
    /// Take the rows in the file's order in every epoch
    #[arg(long)]
    pub no_shuffle: bool,
    /// Log every N steps
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub logging_steps: u64,
    /// Evaluate every N steps; 0: at the end only
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub eval_steps: u64,
    /// Write a checkpoint every N steps; 0: none
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub save_steps: u64,
}

/// Where the memory goes.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Memory")]
pub struct MemoryArgs {
    /// Keep the frozen matrices in this type; products widen them as they go
    #[arg(long, value_name = "TYPE", value_enum, default_value = "f32")]
    pub load_in: ft_cli::LoadIn,
    /// Leave the frozen weights in the model's file and read one layer at a time
    #[arg(long, value_name = "WHERE", value_enum, default_value = "none")]
    pub offload_param_device: Offload,
    /// Bytes (or 512MB, 2GB) of activations kept for backward; the rest is computed twice [default: a quarter
    /// of the memory that is free]
    #[arg(long, value_name = "BYTES", value_parser = ft_cli::bytes)]
    pub activation_memory: Option<u64>,
    /// Keep no activations: --activation-memory 0
    #[arg(long, conflicts_with = "activation_memory")]
    pub gradient_checkpointing: bool,
}

/// `--lr-scheduler-type`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchedulerType {
    /// Half a cosine, to 0
    Cosine,
    /// A straight line, to 0
    Linear,
    /// As it is, without a warm-up
    Constant,
    /// As it is, after the warm-up
    #[value(name = "constant_with_warmup")]
    ConstantWithWarmup,
}

/// `--offload-param-device`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Offload {
    /// In memory
    None,
    /// On disk, mapped
    Disk,
}

/// clap's own parser of paths refuses the empty one, which here says that no value was given.
fn path_or_nothing() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

impl TrainingArgs {
    /// Sequences in an optimizer step.
    pub fn sequences_a_step(&self) -> usize {
        self.per_device_train_batch_size as usize * self.gradient_accumulation_steps as usize
    }
}

fn not_negative(text: &str) -> Result<f64, String> {
    within(text, 0.0..f64::INFINITY, "a number of at least 0")
}

fn probability(text: &str) -> Result<f64, String> {
    within(text, 0.0..1.0, "a number from 0 to below 1")
}

fn share(text: &str) -> Result<f64, String> {
    within(text, 0.0..1.0 + f64::EPSILON, "a number from 0 to 1")
}

fn within(text: &str, range: std::ops::Range<f64>, what: &str) -> Result<f64, String> {
    text.parse().ok().filter(|x| range.contains(x)).ok_or_else(|| format!("expected {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_is_well_formed() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
