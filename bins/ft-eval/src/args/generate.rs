//! Arguments of `ft-eval generate`.

use std::ffi::OsString;

use super::model::ModelArgs;
use super::sampling::SamplingArgs;

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
    /// Answer this question, in the model's or the adapter's chat template if there is one, and write the answer to
    /// standard output
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["input", "output", "limit"])]
    pub prompt: Option<String>,
    /// System message of --prompt
    #[arg(long, value_name = "TEXT", requires = "prompt")]
    pub system: Option<String>,
    /// Maximum number of new tokens; an answer also ends at an end-of-sequence token, and, where N is more than the model's
    /// context length, at that length [default: 128, or what generation_config.json says where that is followed]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_new_tokens: Option<u32>,
    /// Answers to each prompt, each with draws of its own; a file has a row for each
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub num_return_sequences: u32,
    /// Evaluate only the first N rows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    #[command(flatten)]
    pub sampling: SamplingArgs,
}
