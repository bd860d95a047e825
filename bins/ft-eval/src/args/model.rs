//! Which model is measured, on which rows.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;

use ft_cli::Usage;
use ft_io::{Distinct, Source, Target};

/// Which model, and how it is held.
#[derive(Debug, Clone, clap::Args)]
pub struct ModelArgs {
    /// Model to evaluate: a Hugging Face folder, a GGUF file, or a name on the hub (org/name, org/name@revision, org/name:Q8_0)
    #[arg(long, value_name = "DIR|GGUF|NAME")]
    pub model: PathBuf,
    /// LoRA adapter to apply to it: a PEFT folder, one safetensors file, or '-' for standard input
    #[arg(long, value_name = "DIR|FILE|-")]
    pub adapter: Option<OsString>,
    #[command(flatten)]
    pub held: HeldArgs,
    /// Write the figures to this JSON file ('-' for standard output)
    #[arg(long, value_name = "FILE.json")]
    pub report: Option<OsString>,
}

/// How a model is held, and where it computes.
#[derive(Debug, Clone, clap::Args)]
pub struct HeldArgs {
    /// Type that the layers' weights are held in: f32, bf16, f16, 8bit (Q8_0), 4bit (see --bnb-4bit-quant-type), or as-is
    /// (a GGUF's own blocks); computation is in f32
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    pub load_in: ft_model::layers::WeightFormat,
    #[command(flatten)]
    pub four_bit: ft_cli::FourBitArgs<ft_kernels::quant::Kind>,
    /// Sequences in a batch; results do not depend on it
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_size: u32,
    #[command(flatten)]
    pub device: ft_cli::DeviceArgs<ft_model::device::DeviceName>,
}

/// Where the rows come from; standard input cannot be adapter and rows at once.
pub fn source(input: Option<&OsString>, model: &ModelArgs) -> Result<Source, Usage> {
    let source = match input {
        Some(text) => Source::parse(text),
        None if std::io::stdin().is_terminal() => {
            return Err(Usage("no input: name a file, or pipe one in; see 'ft-eval --help'".into()));
        }
        None => Source::Stdin,
    };
    if source == Source::Stdin && model.adapter.as_ref().map(Source::parse) == Some(Source::Stdin) {
        return Err(Usage("both the adapter and the rows would come from standard input; name a file for one".into()));
    }
    Ok(source)
}

/// What is read.
pub fn inputs(source: &Source, model: &ModelArgs) -> Distinct {
    let mut files = Distinct::new();
    files.input("the input", source);
    files.input("--model", &Source::parse(&model.model));
    if let Some(adapter) = &model.adapter {
        files.input("--adapter", &Source::parse(adapter));
    }
    files
}

/// Where a Parquet file goes.
pub fn target(output: Option<&OsString>) -> Result<Target, ft_io::Error> {
    Target::binary(output.map(Target::parse))
}
