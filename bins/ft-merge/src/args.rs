//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Result, bail};
use candle_core::DType;
use ft_cli::Usage;
use ft_model::export::FileType;

/// Adds LoRA adapters to a model's weights and writes a Hugging Face folder or a GGUF file
///
/// The base is read, and the result written, a few rows at a time, so the memory does not grow with the
/// model. W + scaling·B·A is computed in f32 and rounded once. Without an adapter the model is only
/// converted: a GGUF file becomes a Hugging Face folder, with its configuration, tokenizer, chat template
/// and generation settings, and a folder becomes a GGUF file for llama.cpp, Ollama and others.
///
/// Examples:
///   ft-merge --model base --adapter run1 -o merged
///   ft-merge --model base.gguf --adapter run1 --dtype f16 --max-shard-size 2GB -o merged
///   ft-train --model base … -o - | ft-merge --model base --adapter - -o merged
///   ft-merge --model base.gguf -o folder
///   ft-merge --model base --adapter run1 --to gguf --quantize q4_k_m -o model.gguf
///   ft-merge --model base --adapter run1 --to ollama --quantize q8_0 -o folder
///   ft-merge --model base --adapter run1=0.7 --adapter run2=0.3 --combine ties --to adapter -o both
#[derive(Debug, clap::Parser)]
#[command(version, verbatim_doc_comment)]
pub struct Args {
    /// The base model: a Hugging Face folder, a GGUF file, or a name on the hub (org/name, org/name@revision, org/name:Q8_0)
    #[arg(long, value_name = "DIR|GGUF|NAME")]
    pub model: PathBuf,

    /// An adapter to add: a PEFT folder, a safetensors file, or - for a pipe, with a weight where it has one; may be given
    /// several times
    #[arg(long = "adapter", value_name = "DIR|FILE|-[=WEIGHT]")]
    pub adapters: Vec<OsString>,

    #[command(flatten)]
    pub combining: crate::combine::CombineArgs,

    /// What to write
    #[arg(long, value_enum, value_name = "FORM", default_value = "hf")]
    pub to: To,

    /// --to gguf, gguf-lora, ollama: the type of the matrices, or llama.cpp's mixture of types [default: that of the model;
    /// f32, which loses nothing, for a quantised one]
    #[arg(long, value_enum, value_name = "TYPE", ignore_case = true)]
    pub quantize: Option<Quantize>,

    /// --to gguf, ollama: llama.cpp's name for how the tokenizer cuts text into words, where it is not found
    #[arg(long, value_name = "NAME")]
    pub pre: Option<String>,

    /// --to hf: the type of the written weights [default: that of the model; f32, which loses nothing, for a GGUF]
    #[arg(long, value_enum, value_name = "TYPE")]
    pub dtype: Option<Dtype>,

    /// --dtype bf16, by the name that accelerate has for it
    #[arg(long, alias = "zero3_save_16bit_model")]
    pub zero3_save_16bit_model: bool,

    #[command(flatten)]
    pub proving: crate::proving::ProveArgs,

    /// The most that one file of weights may hold, in bytes or as 500MB, 5GB, 2GiB
    #[arg(long, value_name = "SIZE", default_value = "5GB", value_parser = parse_size)]
    pub max_shard_size: u64,

    /// The folder or GGUF file to write
    #[arg(short, long, value_name = "DIR|FILE")]
    pub output: PathBuf,

    /// Write where something is: an older result is replaced, files of others stay
    #[arg(long)]
    pub overwrite: bool,

    #[command(flatten)]
    pub common: ft_cli::Common,
}

impl Args {
    /// Fails where arguments contradict each other.
    ///
    /// # Errors
    /// A usage error that names both.
    pub fn check(&self) -> Result<()> {
        let (folder, gguf) = (self.to == To::Hf, matches!(self.to, To::Gguf | To::GgufLora | To::Ollama));
        if folder && self.output.extension().is_some_and(|ending| ending == "gguf") && !self.output.is_dir() {
            bail!(Usage("-o names a GGUF file, and a folder would be written; give --to gguf, or another name".into()));
        }
        let of_gguf = [("--quantize", self.quantize.is_some()), ("--pre", self.pre.is_some())];
        if let Some((name, _)) = of_gguf.into_iter().find(|(_, given)| !gguf && *given) {
            bail!(Usage(format!("{name} is for GGUF files; give --to gguf with it, or --dtype for a folder")));
        }
        if !folder && (self.dtype.is_some() || self.zero3_save_16bit_model) {
            bail!(Usage(
                "--dtype is for Hugging Face folders; for GGUF files give --quantize f32, bf16, f16, q8_0 or another"
                    .into()
            ));
        }
        Ok(())
    }

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

/// `--to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum To {
    /// A Hugging Face folder with safetensors
    #[value(alias = "safetensors", alias = "folder")]
    Hf,
    /// A GGUF file with tokenizer and template
    Gguf,
    /// The adapters as llama.cpp's file of one, for a base that stays as it is
    GgufLora,
    /// A folder with a GGUF file and a Modelfile, for 'ollama create'
    Ollama,
    /// The adapters as one PEFT folder
    Adapter,
}

/// `--quantize`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "lower")]
pub enum Quantize {
    F32,
    F16,
    Bf16,
    #[value(name = "q8_0")]
    Q8_0,
    #[value(name = "q4_0")]
    Q4_0,
    #[value(name = "q4_1")]
    Q4_1,
    #[value(name = "q5_k_m")]
    Q5KM,
    #[value(name = "q4_k_m")]
    Q4KM,
    #[value(name = "q6_k")]
    Q6K,
}

impl Quantize {
    /// The type of the whole file.
    pub fn file_type(self) -> FileType {
        match self {
            Quantize::F32 => FileType::F32,
            Quantize::F16 => FileType::F16,
            Quantize::Bf16 => FileType::Bf16,
            Quantize::Q8_0 => FileType::Q8_0,
            Quantize::Q4_0 => FileType::Q4_0,
            Quantize::Q4_1 => FileType::Q4_1,
            Quantize::Q5KM => FileType::Q5KM,
            Quantize::Q4KM => FileType::Q4KM,
            Quantize::Q6K => FileType::Q6K,
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
