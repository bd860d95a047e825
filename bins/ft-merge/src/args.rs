//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Result, bail};
use candle_core::DType;
use ft_cli::Usage;

/// Adds LoRA adapters to a model's weights and writes a Hugging Face folder
///
/// The base is read, and the result written, a few rows at a time, so the memory does not grow with the
/// model. W + scaling·B·A is computed in f32 and rounded once. Without an adapter the model is only
/// converted: a GGUF file becomes a Hugging Face folder, with its configuration, tokenizer, chat template
/// and generation settings.
///
/// Examples:
///   ft-merge --model base --adapter run1 -o merged
///   ft-merge --model base.gguf --adapter run1 --dtype f16 --max-shard-size 2GB -o merged
///   ft-train --model base … -o - | ft-merge --model base --adapter - -o merged
///   ft-merge --model base.gguf -o folder
#[derive(Debug, clap::Parser)]
#[command(version, verbatim_doc_comment)]
pub struct Args {
    /// The base model: a Hugging Face folder, a GGUF file, or a name on the hub (org/name, org/name@revision, org/name:Q8_0)
    #[arg(long, value_name = "DIR|GGUF|NAME")]
    pub model: PathBuf,

    /// An adapter to add: a PEFT folder, a safetensors file, or - for a pipe; may be given several times
    #[arg(long = "adapter", value_name = "DIR|FILE|-")]
    pub adapters: Vec<OsString>,

    /// The type of the written weights [default: that of the model; f32, which loses nothing, for a GGUF]
    #[arg(long, value_enum, value_name = "TYPE")]
    pub dtype: Option<Dtype>,

    /// --dtype bf16, by the name that accelerate has for it
    #[arg(long, alias = "zero3_save_16bit_model")]
    pub zero3_save_16bit_model: bool,

    /// The most that one file of weights may hold, in bytes or as 500MB, 5GB, 2GiB
    #[arg(long, value_name = "SIZE", default_value = "5GB", value_parser = parse_size)]
    pub max_shard_size: u64,

    /// The folder to write
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,

    /// Write into a folder that holds something: an older result is replaced, files of others stay
    #[arg(long)]
    pub overwrite: bool,

    #[command(flatten)]
    pub common: ft_cli::Common,
}

impl Args {
    /// The type of the written weights; none is the model's.
    ///
    /// # Errors
    /// If two arguments ask for two types.
    pub fn dtype(&self) -> Result<Option<Dtype>> {
        match (self.zero3_save_16bit_model, self.dtype) {
            (true, Some(Dtype::F32)) => {
                bail!(Usage("--zero3-save-16bit-model and --dtype f32 exclude each other; give one".into()))
            }
            (true, None) => Ok(Some(Dtype::Bf16)),
            // f16 has 16 bits too.
            (_, said) => Ok(said),
        }
    }
}

/// `--dtype`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Dtype {
    #[value(alias = "float32")]
    F32,
    #[value(alias = "bfloat16")]
    Bf16,
    #[value(alias = "float16")]
    F16,
}

impl Dtype {
    /// candle's name for it.
    pub fn candle(self) -> DType {
        match self {
            Dtype::F32 => DType::F32,
            Dtype::Bf16 => DType::BF16,
            Dtype::F16 => DType::F16,
        }
    }
}

/// A shard of no bytes holds nothing.
fn parse_size(text: &str) -> Result<u64, String> {
    ft_io::bytes(text).and_then(|size| if size > 0 { Ok(size) } else { Err("expected at least one byte".into()) })
}
