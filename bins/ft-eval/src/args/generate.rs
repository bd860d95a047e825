//! Arguments of `ft-eval generate`.

use std::ffi::OsString;

use candle_transformers::generation::Sampling;
use ft_cli::Usage;

use super::model::ModelArgs;
use super::numbers::{not_negative, share};

#[derive(Debug, clap::Args)]
pub struct GenerateArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Prompts: a Parquet file of 'ft-template --mode test', or '-' for standard input
    #[arg(value_name = "FILE|-")]
    pub input: Option<OsString>,
    /// Write the answers to this Parquet file ('-' for standard output); an interrupted run leaves those that are done
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<OsString>,
    /// Maximum number of new tokens; an answer also ends at an end-of-sequence token, and, where N is more than the model's
    /// context length, at that length
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_new_tokens: u32,
    /// Sampling temperature; 0 is greedy
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = not_negative)]
    pub temperature: f64,
    /// Sample from the K most likely tokens only
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pub top_k: Option<u32>,
    /// Nucleus sampling: sample from the smallest set of most likely tokens whose probabilities add up to P; after
    /// --temperature and --top-k
    #[arg(long, value_name = "P", value_parser = share)]
    pub top_p: Option<f64>,
    /// Random seed of sampling; each row has its own stream
    #[arg(long, value_name = "S", default_value_t = 42)]
    pub seed: u64,
    /// Evaluate only the first N rows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
}

/// How tokens are chosen.
pub fn sampling(args: &GenerateArgs) -> Result<Sampling, Usage> {
    let temperature = args.temperature;
    if temperature == 0.0 {
        if args.top_k.is_some() || args.top_p.is_some() {
            return Err(Usage("--top-k and --top-p are for sampling: they need a --temperature above 0".into()));
        }
        return Ok(Sampling::ArgMax);
    }
    Ok(match (args.top_k.map(|k| k as usize), args.top_p) {
        (None, None) => Sampling::All { temperature },
        (Some(k), None) => Sampling::TopK { k, temperature },
        (None, Some(p)) => Sampling::TopP { p, temperature },
        (Some(k), Some(p)) => Sampling::TopKThenTopP { k, p, temperature },
    })
}
