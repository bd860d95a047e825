//! What a run is asked for, in plain types. The names and the defaults are Hugging Face's.

mod configuration;
mod evaluation;
mod memory;
mod precision;
mod rows;
mod training;
#[cfg(test)]
pub mod words;

use std::path::PathBuf;

use ft_model::device::DeviceName;
use ft_model::lora::LoraConfig;

pub use configuration::Configuration;
pub use evaluation::{EXAMINATION_KEYS, EvaluationOptions, Interval, LogOptions, ReportTo, SaveStrategy};
pub use memory::{MemoryOptions, Offload, RankOptions, Sharding};
pub use precision::MixedPrecision;
pub use rows::{Overlong, RowOptions};
pub use training::{SchedulerType, TrainingOptions};

/// A run. `Options { model, train, output_dir, ..Options::default() }` trains as TRL does by default.
#[derive(Debug, Clone)]
pub struct Options {
    /// The base model: a Hugging Face folder or a GGUF file.
    pub model: PathBuf,
    /// Tokens to train on: a Parquet file with `input_ids` and `labels`; `-` is standard input.
    pub train: PathBuf,
    /// Tokens to evaluate on.
    pub eval: Option<PathBuf>,
    /// Where the adapter goes: a folder, or `-` for one safetensors file on standard output.
    pub output_dir: PathBuf,
    /// Where files without a name go that a run pages to, while there is no output folder.
    pub temporary_folder: PathBuf,
    /// Whether an output folder that already holds a run is written to.
    pub overwrite_output_dir: bool,
    /// The checkpoint to go on from; the empty path is the newest whole one in the output folder.
    pub resume_from_checkpoint: Option<PathBuf>,
    /// The adapter to make, in peft's words.
    pub lora: LoraConfig,
    /// The PEFT adapter to start from; it then decides rank, alpha and modules.
    pub init_adapter: Option<PathBuf>,
    /// The dropout of `init_adapter` in place of its own.
    pub init_adapter_dropout: Option<f64>,
    pub training: TrainingOptions,
    pub rows: RowOptions,
    pub log: LogOptions,
    pub evaluation: EvaluationOptions,
    /// What the products of frozen matrices are made in.
    pub precision: MixedPrecision,
    /// Whether a GPU may make products of f32 with 10 bits behind the point.
    pub tf32: bool,
    pub memory: MemoryOptions,
    pub ranks: RankOptions,
    /// What computes.
    pub device: DeviceName,
    /// Whether the CPU takes the plain operators, for tests.
    pub reference_operators: bool,
    /// Threads that compute, for the run's record.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            model: PathBuf::new(),
            train: PathBuf::new(),
            eval: None,
            output_dir: PathBuf::new(),
            temporary_folder: PathBuf::from("."),
            overwrite_output_dir: false,
            resume_from_checkpoint: None,
            lora: LoraConfig::new(16, 32.0, "all-linear"),
            init_adapter: None,
            init_adapter_dropout: None,
            training: TrainingOptions::default(),
            rows: RowOptions::default(),
            log: LogOptions::default(),
            evaluation: EvaluationOptions::default(),
            precision: MixedPrecision::Auto,
            tf32: false,
            memory: MemoryOptions::default(),
            ranks: RankOptions::default(),
            device: DeviceName::Auto,
            reference_operators: false,
            threads: std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
        }
    }
}

impl Options {
    /// The adapter's configuration with the model that it is for.
    pub fn lora_config(&self) -> LoraConfig {
        LoraConfig { base_model_name_or_path: Some(self.base_model_name()), ..self.lora.clone() }
    }

    /// What the adapter calls its model: the name that it was published under, where it lies in the Hugging Face cache,
    /// else its path.
    pub fn base_model_name(&self) -> String {
        ft_io::hub_name(&self.model).unwrap_or_else(|| self.model.display().to_string())
    }
}
