//! What is typed.

mod numbers;
mod output;
mod plan;
mod precision;

pub use output::OutputArgs;
pub use plan::PlanArgs;
pub use precision::{NumberType, PrecisionArgs};

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use ft_model::layers::WeightFormat;
use numbers::{at_least_two, positive};

const EXAMPLES: &str = "\
Examples:
  ft-bench matmul --svg products.svg
  ft-bench train --model SmolLM2.gguf --json train.json
  ft-bench generate --model SmolLM2.gguf --threads 1
  ft-bench plan --model Llama-3.1-8B --world 8 --load-in bf16,4bit --gpu-memory 80GB
  ft-bench precision --model SmolLM2.gguf --svg types.svg
  ft-bench plot out/metrics.jsonl -o loss.png

The table goes to stdout. --json and --svg write files; '-' writes to stdout instead of the table.
Nothing else should run meanwhile: every figure is the median of some runs, not the best one.";

/// Measure this machine: matrix products, training steps, generation. Draw the curves of a run.
#[derive(Debug, Parser)]
#[command(name = "ft-bench", version, after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    pub what: What,
    #[command(flatten)]
    pub common: ft_cli::Common,
}

#[derive(Debug, Subcommand)]
pub enum What {
    #[command(flatten)]
    Measure(Measure),
    /// The curves of a training run, from its metrics.jsonl: loss, learning rate, gradient norm
    Plot(PlotArgs),
}

#[derive(Debug, Subcommand)]
pub enum Measure {
    /// Speed (GFLOP/s) of the matrix products of training, on one thread and on all
    Matmul(MatmulArgs),
    /// Tokens/s, GFLOP/s, peak memory and time to the first step of real training steps on random tokens
    Train(TrainArgs),
    /// Speed (tokens/s) of prefill and greedy decoding, for several batch sizes
    Generate(GenerateArgs),
    /// Memory and traffic of each rank of a run, from a model's shape; no weights are loaded
    Plan(PlanArgs),
    /// Speed against accuracy: the same training steps with the frozen weights in every type that the device has
    Precision(PrecisionArgs),
    /// Compare a device with the CPU: every operator, and training runs with reference losses
    Check(CheckArgs),
}

impl Measure {
    /// Where a drawing in pixels goes.
    pub fn png(&self) -> Option<&PathBuf> {
        match self {
            Self::Precision(args) => args.png.as_ref(),
            _ => None,
        }
    }

    /// The model that is loaded, where one is; a plan looks at shapes alone.
    pub fn loaded_model(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::Matmul(args) => args.model.as_mut(),
            Self::Train(args) => Some(&mut args.model),
            Self::Generate(args) => Some(&mut args.model),
            Self::Precision(args) => Some(&mut args.model),
            Self::Plan(_) | Self::Check(_) => None,
        }
    }

    /// The models that are read.
    pub fn models(&self) -> &[PathBuf] {
        match self {
            Self::Matmul(args) => args.model.as_slice(),
            Self::Train(args) => std::slice::from_ref(&args.model),
            Self::Generate(args) => std::slice::from_ref(&args.model),
            Self::Plan(args) => &args.model,
            Self::Precision(args) => std::slice::from_ref(&args.model),
            Self::Check(_) => &[],
        }
    }

    /// Where the results go.
    pub fn output(&self) -> &OutputArgs {
        match self {
            Self::Matmul(args) => &args.output,
            Self::Train(args) => &args.output,
            Self::Generate(args) => &args.output,
            Self::Plan(args) => &args.output,
            Self::Precision(args) => &args.output,
            Self::Check(args) => &args.output,
        }
    }
}

#[derive(Debug, clap::Args)]
pub struct PlotArgs {
    /// The run's metrics.jsonl ('-' reads a pipe)
    #[arg(value_name = "METRICS.jsonl|-")]
    pub metrics: PathBuf,
    /// Where the drawing goes; its name's end says which format
    #[arg(short, long, value_name = "FILE.svg|FILE.png|-")]
    pub output: PathBuf,
    /// svg or png, where the output's name does not say it
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub format: Option<Format>,
    /// Title of the drawing [default: the run's folder]
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Format {
    Svg,
    Png,
}

#[derive(Debug, clap::Args)]
pub struct MatmulArgs {
    /// Take the shapes from this model [default: those of SmolLM2-135M]
    #[arg(long, value_name = "DIR|GGUF|NAME")]
    pub model: Option<PathBuf>,
    /// Rows of the left-hand matrix: the tokens of a micro-batch
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = positive)]
    pub tokens: usize,
    /// LoRA rank, for the low-rank products of an adapter
    #[arg(long, value_name = "R", default_value_t = 16, value_parser = positive)]
    pub lora_r: usize,
    /// Measure each product N times and report the median
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = positive)]
    pub repeats: usize,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, clap::Args)]
pub struct TrainArgs {
    /// The model: a Hugging Face folder, a GGUF file, or a name on the hub (org/name, org/name@revision, org/name:Q8_0)
    #[arg(long, value_name = "DIR|GGUF|NAME")]
    pub model: PathBuf,
    /// Training steps to take; the median time is reported
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = positive)]
    pub max_steps: usize,
    /// Sequences in a step, all in one micro-batch
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = positive)]
    pub batch_size: usize,
    /// Tokens in a sequence, each with a label
    #[arg(long, visible_alias = "max-length", value_name = "N", default_value_t = 256, value_parser = at_least_two)]
    pub seq_len: usize,
    /// LoRA rank; all linear layers are adapted
    #[arg(long, value_name = "R", default_value_t = 16, value_parser = positive)]
    pub lora_r: usize,
    /// Memory for activations kept for the backward pass, in bytes or as 512MB, 2GB; what does not fit is recomputed
    /// [default: a quarter of the free memory]
    #[arg(long, value_name = "BYTES", value_parser = ft_io::bytes)]
    pub activation_memory: Option<u64>,
    /// Keep the frozen matrices as f32, bf16, f16, 8bit (Q8_0), 4bit or as-is (a GGUF's own blocks); products widen them
    /// as they go
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    pub load_in: WeightFormat,
    #[command(flatten)]
    pub four_bit: ft_cli::FourBitArgs<ft_kernels::quant::Kind>,
    /// Use random weights of the shape in the folder's config.json; no weight file is needed
    #[arg(long)]
    pub random_weights: bool,
    /// Do not measure a matrix product to compare the steps with
    #[arg(long, hide = true)]
    pub no_best_product: bool,
    /// Say where the time goes: of each operator, forward and backward, its seconds a step, its share, the least that this
    /// machine's best product and its copies allow, and how long threads had nothing to do
    #[arg(long)]
    pub profile: bool,
    /// Use TF32 (10 bits of mantissa) for f32 matrix products on a GPU
    #[arg(long)]
    pub tf32: bool,
    #[command(flatten)]
    pub device: ft_cli::DeviceArgs<ft_model::device::DeviceName>,
    /// Seed of the random tokens and the adapter
    #[arg(long, value_name = "SEED", default_value_t = 42)]
    pub seed: u64,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, clap::Args)]
pub struct GenerateArgs {
    /// The model: a Hugging Face folder, a GGUF file, or a name on the hub (org/name, org/name@revision, org/name:Q8_0)
    #[arg(long, value_name = "DIR|GGUF|NAME")]
    pub model: PathBuf,
    /// Batch sizes to measure: sequences generated at a time
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1, 4, 8], value_parser = positive)]
    pub batch_sizes: Vec<usize>,
    /// Prompt length, in random tokens
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = positive)]
    pub prompt_len: usize,
    /// Tokens to generate for each prompt
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = at_least_two)]
    pub max_new_tokens: usize,
    /// Measure each batch size N times and report the median
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = positive)]
    pub repeats: usize,
    /// Keep the matrices as f32, bf16, f16, 8bit (Q8_0), 4bit or as-is (a GGUF's own blocks); products widen them as they
    /// go
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    pub load_in: WeightFormat,
    #[command(flatten)]
    pub four_bit: ft_cli::FourBitArgs<ft_kernels::quant::Kind>,
    #[command(flatten)]
    pub device: ft_cli::DeviceArgs<ft_model::device::DeviceName>,
    /// Seed of the random tokens
    #[arg(long, value_name = "SEED", default_value_t = 42)]
    pub seed: u64,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// A folder of models with the losses that transformers and peft found, as testdata/reference is one
    #[arg(long, value_name = "DIR")]
    pub reference: Option<PathBuf>,
    /// Take only the models whose names begin with one of these
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Use TF32 (10 bits of mantissa) for f32 matrix products on a GPU; errors are reported but never fail the check
    #[arg(long)]
    pub tf32: bool,
    #[command(flatten)]
    pub device: ft_cli::DeviceArgs<ft_model::device::DeviceName>,
    #[command(flatten)]
    pub output: OutputArgs,
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
