//! `ft-bench plan`

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, ValueEnum};
use ft_model::memory_plan::Stage;
use ft_model::optimizer::OptimizerKind;

use super::numbers::{at_least_two, positive};
use super::output::OutputArgs;

/// Names and defaults are those of ft-train.
#[derive(Debug, clap::Args)]
pub struct PlanArgs {
    /// The models: folders, config.json files or GGUF files; of a folder config.json alone is enough
    #[arg(long, required = true, value_name = "DIR|JSON|GGUF", num_args = 1..)]
    pub model: Vec<PathBuf>,
    /// Numbers of ranks
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1, 2, 4, 8], value_parser = ranks)]
    pub world: Vec<usize>,
    /// What to shard across ranks: none (DDP), zero1, zero2, zero3 (FSDP) or all of these
    #[arg(long, value_name = "WHAT,…", value_enum, value_delimiter = ',', default_values = ["all"])]
    pub sharding: Vec<StageName>,
    /// How the frozen matrices are kept
    #[arg(long, aliases = ["dtype", "torch-dtype"], value_name = "TYPE,…", value_delimiter = ',',
        default_values = ["f32"])]
    pub load_in: Vec<ft_model::layers::WeightFormat>,
    #[command(flatten)]
    pub four_bit: ft_cli::FourBitArgs<ft_kernels::quant::Kind>,
    /// LoRA rank: rows of A and columns of B
    #[arg(long, alias = "r", value_name = "R", default_value_t = 16, value_parser = positive)]
    pub lora_r: usize,
    /// Modules to adapt: all-linear, names, or a regular expression of the full name
    #[arg(long, aliases = ["lora-target-modules"], value_name = "MODULES", num_args = 1.., default_value = "all-linear")]
    pub target_modules: Vec<String>,
    /// The optimizer
    #[arg(long, value_name = "OPTIMIZER", default_value = "adamw_torch", value_parser = optimizer)]
    pub optim: OptimizerKind,
    /// Sequences in a micro-batch of a rank
    #[arg(long, visible_alias = "batch-size", value_name = "N", default_value_t = 8, value_parser = positive)]
    pub per_device_train_batch_size: usize,
    /// Tokens in each sequence [default: 512, or as many as the model takes]
    #[arg(long, visible_alias = "max-length", value_name = "N", value_parser = at_least_two)]
    pub max_seq_length: Option<usize>,
    /// Micro-batches whose gradients are accumulated before an optimizer step
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive)]
    pub gradient_accumulation_steps: usize,
    /// With zero3: free a layer's gathered weights after its forward pass and gather them again for its backward pass
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value = "true", default_missing_value = "true",
        action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub fsdp_reshard_after_forward: bool,
    /// Memory for activations kept for the backward pass, in bytes or as 512MB, 2GB [default: a quarter of what is free]
    #[arg(long, value_name = "BYTES", value_parser = ft_io::bytes)]
    pub activation_memory: Option<u64>,
    /// Gradient checkpointing: recompute all activations in the backward pass (--activation-memory 0)
    #[arg(long, alias = "activation-checkpointing")]
    pub gradient_checkpointing: bool,
    /// Each rank computes on a GPU of so much memory (80GB): say what fits [default: ranks share this machine's CPU]
    #[arg(long, value_name = "BYTES", value_parser = ft_io::bytes)]
    pub gpu_memory: Option<u64>,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `--sharding`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StageName {
    /// Nothing: every rank holds everything (DDP)
    None,
    /// Optimizer states
    Zero1,
    /// Optimizer states and gradients
    Zero2,
    /// Optimizer states, gradients and frozen weights, gathered one layer at a time
    #[value(aliases = ["fsdp", "full_shard"])]
    Zero3,
    /// Each of them
    All,
}

impl StageName {
    /// What it stands for, each with its name.
    pub fn stages(self) -> Vec<(&'static str, Stage)> {
        let all = [("none", Stage::None), ("zero1", Stage::Zero1), ("zero2", Stage::Zero2), ("zero3", Stage::Zero3)];
        match self {
            Self::None => all[..1].into(),
            Self::Zero1 => all[1..2].into(),
            Self::Zero2 => all[2..3].into(),
            Self::Zero3 => all[3..].into(),
            Self::All => all.into(),
        }
    }
}

/// More ranks than any run has had; each is planned for itself.
const MOST_RANKS: usize = 4_096;

fn ranks(text: &str) -> Result<usize, String> {
    let told = || format!("expected a number of ranks from 1 to {MOST_RANKS}");
    text.parse().ok().filter(|n| (1..=MOST_RANKS).contains(n)).ok_or_else(told)
}

fn optimizer(name: &str) -> Result<OptimizerKind, String> {
    name.parse().map_err(|error: ft_model::Error| error.to_string())
}
