//! What is typed. The names are Hugging Face's, in kebab case.

mod data;
mod lora;
mod memory;
mod options;
mod precision;
mod prove;
mod ranks;
mod training;
mod values;
mod watch;

use std::path::{Path, PathBuf};

use clap::Parser;

pub use data::{DataArgs, SamplingStrategy};
pub use lora::LoraArgs;
pub use memory::MemoryArgs;
pub use precision::PrecisionArgs;
pub use prove::ProveArgs;
pub use ranks::{Backend, RanksArgs};
pub use training::{Optim, TrainingArgs};
pub use values::Object;
pub use watch::{LogArgs, LogLevel, WatchArgs};

use values::path_or_nothing;

const EXAMPLES: &str = "\
Examples:
  ft-train --model SmolLM2.gguf --train train.parquet --eval test.parquet --output-dir out
  ft-train --config recipe.yaml --learning-rate 1e-4
  ft-template --model SmolLM2.gguf rows.parquet -o - | ft-train --model SmolLM2.gguf --train - -o - > adapter.safetensors

OUT holds adapter_config.json and adapter_model.safetensors, which peft and ft-merge read;
metrics.jsonl, a JSON object a logged step; loss.svg and loss.png, its curve; runs/, what
TensorBoard reads; trainer_state.json, train_results.json, eval_results.json and all_results.json
as Hugging Face's Trainer writes them; run.json, what the run was, for --verify; and checkpoint-N/
every --save-steps, from which --resume-from-checkpoint goes on to the same bits.";

/// Fine-tune a language model with LoRA, on tokens that ft-template made.
///
/// --model, --train and --output-dir are required, as flags or in a --config file. Every flag may be written with
/// underscores too, a switch may have a value (--packing false), and of equal flags the last one counts.
///
/// The base model stays frozen and is never written. The result depends on the inputs, these flags and
/// the seed alone: not on threads, memory, or how a step's batch is cut into micro-batches.
#[derive(Debug, Clone, Parser)]
#[command(name = "ft-train", version, after_help = EXAMPLES)]
pub struct Args {
    /// The base model: a Hugging Face folder, a GGUF file, or a name on the hub (org/name, org/name@revision, org/name:Q8_0)
    #[arg(long, alias = "model-name-or-path", value_name = "DIR|GGUF|NAME", default_value = "", hide_default_value = true,
        value_parser = path_or_nothing())]
    pub model: PathBuf,
    /// Tokens to train on: any Parquet with input_ids and labels ('-' reads a pipe)
    #[arg(long, alias = "train-file", value_name = "FILE|-", default_value = "", hide_default_value = true,
        value_parser = path_or_nothing())]
    pub train: PathBuf,
    /// Tokens to evaluate on, as --eval-strategy says and at the end
    #[arg(long, alias = "eval-file", value_name = "FILE")]
    pub eval: Option<PathBuf>,
    /// Where the adapter goes: a folder, or '-' for one safetensors file to a pipe
    #[arg(short, long, visible_alias = "output", value_name = "DIR|-", default_value = "", hide_default_value = true,
        value_parser = path_or_nothing())]
    pub output_dir: PathBuf,
    /// Write into an output folder that already holds a run
    #[arg(long, visible_alias = "overwrite")]
    pub overwrite_output_dir: bool,
    /// Go on from this checkpoint; without a value, or true, from the newest whole one in the output folder
    #[arg(long, value_name = "DIR|BOOL", num_args = 0..=1, default_missing_value = "", value_parser = path_or_nothing())]
    pub resume_from_checkpoint: Option<PathBuf>,

    #[command(flatten)]
    pub ask: AskArgs,
    #[command(flatten)]
    pub prove: ProveArgs,
    #[command(flatten)]
    pub lora: LoraArgs,
    #[command(flatten)]
    pub training: TrainingArgs,
    #[command(flatten)]
    pub data: DataArgs,
    #[command(flatten)]
    pub log: LogArgs,
    #[command(flatten)]
    pub watch: WatchArgs,
    #[command(flatten)]
    pub precision: PrecisionArgs,
    #[command(flatten)]
    pub memory: MemoryArgs,
    #[command(flatten)]
    pub ranks: RanksArgs,
    #[command(flatten)]
    pub device: ft_cli::DeviceArgs<ft_model::device::DeviceName>,
    /// --device cpu, in Hugging Face's words
    #[arg(long, alias = "no-cuda")]
    pub use_cpu: bool,
    #[command(flatten)]
    pub common: ft_cli::Common,
}

impl Args {
    /// The checkpoint to go on from, where the run does; an empty path is the newest one. `true` and `false`, in any
    /// spelling, are no folders unless there is one of that name.
    pub fn resumes_from(&self) -> Option<&Path> {
        let path = self.resume_from_checkpoint.as_deref()?;
        let word = path.to_str().filter(|_| !path.exists()).map(str::to_ascii_lowercase);
        match word.as_deref() {
            Some("true") => Some(Path::new("")),
            Some("false") => None,
            _ => Some(path),
        }
    }
}

/// The configuration, and words about it.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Configuration")]
pub struct AskArgs {
    /// Arguments by name, from YAML, TOML or JSON; flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Write every argument with its value and its origin (default, accelerate, file or flag) as YAML, and stop
    #[arg(long)]
    pub print_config: bool,
    /// Write the JSON schema of --config files, and stop
    #[arg(long)]
    pub config_schema: bool,
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
