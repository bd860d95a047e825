//! `ft-bench precision`

use std::path::PathBuf;

use super::numbers::{at_least_two, positive};
use super::output::OutputArgs;

/// The steps are those of `ft-bench train`.
#[derive(Debug, clap::Args)]
pub struct PrecisionArgs {
    /// The model: a Hugging Face folder, a GGUF file, or a name on the hub (org/name, org/name@revision, org/name:Q8_0)
    #[arg(long, value_name = "DIR|GGUF|NAME")]
    pub model: PathBuf,
    /// Types to compare with f32 [default: all that the device has]
    #[arg(long, value_name = "TYPE,…", value_enum, value_delimiter = ',')]
    pub types: Vec<NumberType>,
    /// Training steps to take; the median time is reported
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = positive)]
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
    #[command(flatten)]
    pub device: ft_cli::DeviceArgs<ft_model::device::DeviceName>,
    /// Seed of the random tokens and the adapter
    #[arg(long, value_name = "SEED", default_value_t = 42)]
    pub seed: u64,
    #[command(flatten)]
    pub output: OutputArgs,
    /// Draw the figures as PNG
    #[arg(long, value_name = "FILE|-")]
    pub png: Option<PathBuf>,
}

/// A way to hold the frozen weights and to multiply with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum NumberType {
    /// 32-bit floats
    F32,
    /// f32 storage, TF32 matrix products (GPUs)
    Tf32,
    /// bfloat16
    Bf16,
    /// IEEE half precision
    #[value(alias = "f16")]
    Fp16,
    /// 8-bit blocks (Q8_0)
    #[value(name = "8bit")]
    EightBit,
    /// 4-bit blocks (NF4)
    #[value(name = "4bit")]
    FourBit,
}

impl NumberType {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::F32, Self::Tf32, Self::Bf16, Self::Fp16, Self::EightBit, Self::FourBit];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
            Self::Fp16 => "fp16",
            Self::EightBit => "8bit",
            Self::FourBit => "4bit",
        }
    }

    /// `--load-in`
    pub fn load_in(self) -> &'static str {
        match self {
            Self::F32 | Self::Tf32 => "f32",
            Self::Fp16 => "f16",
            other => other.name(),
        }
    }
}
