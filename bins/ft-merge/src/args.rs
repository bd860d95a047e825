//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use candle_core::DType;

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
    /// The base model: a Hugging Face folder or a GGUF file
    #[arg(long, value_name = "DIR|GGUF")]
    pub model: PathBuf,

    /// An adapter to add: a PEFT folder, a safetensors file, or - for a pipe; may be given several times
    #[arg(long = "adapter", value_name = "DIR|FILE|-")]
    pub adapters: Vec<OsString>,

    /// The type of the written weights [default: that of the model; f32, which loses nothing, for a GGUF]
    #[arg(long, value_enum, value_name = "TYPE")]
    pub dtype: Option<Dtype>,

    /// The most that one file of weights may hold, in bytes or as 500MB, 5GB, 2GiB
    #[arg(long, value_name = "SIZE", default_value = "5GB", value_parser = parse_size)]
    pub max_shard_size: u64,

    /// The folder to write
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,

    /// Replace the output folder if it holds something
    #[arg(long)]
    pub overwrite: bool,

    #[command(flatten)]
    pub common: ft_cli::Common,
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

/// `5GB` is 5·10⁹ bytes, as in Hugging Face's libraries, `5GiB` 5·2³⁰.
fn parse_size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 9] = [
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
        ("tib", 1 << 40),
        ("kb", 1_000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
        ("tb", 1_000_000_000_000),
        ("b", 1),
    ];
    let lower = text.trim().to_ascii_lowercase();
    let (number, unit) =
        UNITS.iter().find_map(|(name, unit)| Some((lower.strip_suffix(name)?, *unit))).unwrap_or((lower.as_str(), 1));
    let wrong = || "expected a number of bytes, or one with KB, MB, GB, TB, KiB, MiB, GiB or TiB".to_owned();
    let size = number.trim().parse::<f64>().map_err(|_| wrong())? * unit as f64;
    if size >= 1.0 && size < u64::MAX as f64 { Ok(size as u64) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes_are_read_as_hugging_face_reads_them() {
        assert_eq!(parse_size("5GB"), Ok(5_000_000_000));
        assert_eq!(parse_size("1.5 GiB"), Ok(3 << 29));
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("10kb"), Ok(10_000));
        for wrong in ["", "GB", "-1", "0", "5XB", "nan"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
