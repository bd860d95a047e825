//! What is typed.

use std::path::PathBuf;

use candle_core::DType;
use clap::{Parser, Subcommand, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  ft-bench matmul --svg products.svg
  ft-bench train --model SmolLM2.gguf --json train.json
  ft-bench generate --model SmolLM2.gguf --threads 1

The table goes to stdout. --json and --svg write files; '-' writes to stdout instead of the table.
Nothing else should run meanwhile: every figure is the median of some runs, not the best one.";

/// Measure this machine: matrix products, training steps, generation.
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
    /// GFLOP/s of the matrix products that training is made of, on one thread and on all
    Matmul(MatmulArgs),
    /// Tokens/s, GFLOP/s, peak memory and time to the first step of real training steps on random tokens
    Train(TrainArgs),
}

impl What {
    /// Where the results go.
    pub fn output(&self) -> &OutputArgs {
        match self {
            Self::Matmul(args) => &args.output,
            Self::Train(args) => &args.output,
        }
    }
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Write all figures as JSON
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
    /// Draw the figures
    #[arg(long, value_name = "FILE|-")]
    pub svg: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct MatmulArgs {
    /// Take the shapes from this model [default: those of SmolLM2-135M]
    #[arg(long, value_name = "DIR|GGUF")]
    pub model: Option<PathBuf>,
    /// Rows of the left side: the tokens of a micro-batch
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = positive)]
    pub tokens: usize,
    /// Rank of the thin products of an adapter
    #[arg(long, value_name = "R", default_value_t = 16, value_parser = positive)]
    pub lora_r: usize,
    /// Times that each product is measured; the median counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = positive)]
    pub repeats: usize,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, clap::Args)]
pub struct TrainArgs {
    /// The model: a Hugging Face folder or a GGUF file
    #[arg(long, value_name = "DIR|GGUF")]
    pub model: PathBuf,
    /// Steps to take; the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = positive)]
    pub max_steps: usize,
    /// Sequences in a step, all in one micro-batch
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = positive)]
    pub batch_size: usize,
    /// Tokens in a sequence, each with a label
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = at_least_two)]
    pub seq_len: usize,
    /// Rank of the adapter, on all linear layers
    #[arg(long, value_name = "R", default_value_t = 16, value_parser = positive)]
    pub lora_r: usize,
    /// Bytes (or 512MB, 2GB) of activations kept for backward; the rest is computed twice [default: a quarter of the
    /// memory that is free]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub activation_memory: Option<u64>,
    /// Keep the frozen matrices in this type; products widen them as they go
    #[arg(long, value_name = "TYPE", value_enum, default_value = "f32")]
    pub load_in: LoadIn,
    /// Seed of the random tokens and the adapter
    #[arg(long, value_name = "SEED", default_value_t = 42)]
    pub seed: u64,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `--load-in`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LoadIn {
    F32,
    Bf16,
    F16,
}

impl LoadIn {
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::F16 => DType::F16,
        }
    }

    pub fn name(self) -> &'static str {
        self.dtype().as_str()
    }
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| "expected a whole number of at least 1".into())
}

/// A sequence of one token has no label that something before it could predict.
fn at_least_two(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 1).ok_or_else(|| "expected a whole number of at least 2".into())
}

/// `1000000`, `512MB`, `2GB`, `1GiB`
fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_uppercase().as_str() {
        "" | "B" => Some(1.0),
        "K" | "KB" => Some(1e3),
        "M" | "MB" => Some(1e6),
        "G" | "GB" => Some(1e9),
        "KIB" => Some(1024.0),
        "MIB" => Some(1_048_576.0),
        "GIB" => Some(1_073_741_824.0),
        _ => None,
    };
    let number: Option<f64> = number.parse().ok();
    let bytes = number.zip(factor).map(|(number, factor)| (number * factor) as u64);
    bytes.ok_or_else(|| "expected bytes, as 1000000, 512MB or 2GiB".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!(bytes("0"), Ok(0));
        assert_eq!(bytes("1.5GB"), Ok(1_500_000_000));
        assert_eq!(bytes("2MiB"), Ok(2 << 20));
        assert!(bytes("many").is_err() && bytes("3 apples").is_err());
    }

    #[test]
    fn the_help_is_well_formed() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
