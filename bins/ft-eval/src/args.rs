//! What is typed.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;

use candle_transformers::generation::Sampling;
use clap::{Parser, Subcommand, ValueEnum};
use ft_cli::Usage;
use ft_io::{Source, Target};

const EXAMPLES: &str = "\
Examples:
  ft-eval loss --model SmolLM2.gguf --adapter out test.parquet
  ft-template --model SmolLM2.gguf --mode test rows.parquet -o - |
      ft-eval generate --model SmolLM2.gguf --max-new-tokens 32 - -o answers.parquet
  ft-eval choice --model merged mmlu/professional_accounting/test.arrow --report choice.json

Figures go to --report as JSON, or to standard output where that is a pipe; a table of them goes to
standard error.";

/// Measures a language model: the loss on tokens, answers to prompts, multiple choice.
#[derive(Debug, Parser)]
#[command(name = "ft-eval", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    pub task: Task,
    #[command(flatten)]
    pub common: ft_cli::Common,
}

#[derive(Debug, Subcommand)]
pub enum Task {
    /// Loss, perplexity and accuracy of the next token, on tokens that ft-template made
    ///
    /// The loss is one mean over all labels, in nats; perplexity is its exponential. Rows may be any
    /// Parquet with input_ids and labels.
    Loss(LossArgs),
    /// Answers to prompts, and how well they agree with the references
    ///
    /// Prompts are what 'ft-template --mode test' writes. Exact match and F1 are SQuAD's: both texts in
    /// lower case, without punctuation and the articles a, an, the; F1 over the words that they share.
    /// An answer does not depend on the batch it is in, nor on the number of threads.
    Generate(GenerateArgs),
    /// Accuracy on multiple-choice questions, by the likelihood of each choice
    ///
    /// Questions have the columns question, choices (a list of texts), answer (a number from 0, a letter,
    /// or the choice's text) and maybe subject, as MMLU has them; Arrow, Parquet, JSON lines or CSV.
    Choice(ChoiceArgs),
}

/// Which model, and how it is held.
#[derive(Debug, Clone, clap::Args)]
pub struct ModelArgs {
    /// The model: a Hugging Face folder or a GGUF file
    #[arg(long, value_name = "DIR|GGUF")]
    pub model: PathBuf,
    /// An adapter on it: a PEFT folder, one safetensors file, or '-' for a pipe
    #[arg(long, value_name = "DIR|FILE|-")]
    pub adapter: Option<OsString>,
    /// How the blocks' matrices are held in memory: f32, bf16, f16, 8bit (Q8_0), 4bit (--bnb-4bit-quant-type), or as-is (a
    /// GGUF's own blocks); computing is in f32
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    pub load_in: ft_model::layers::LoadAs,
    #[command(flatten)]
    pub four_bit: ft_cli::FourBitArgs<ft_kernels::quant::Kind>,
    /// Sequences at a time; no result depends on it
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_size: u32,
    /// The JSON file to write the figures to ('-': standard output)
    #[arg(long, value_name = "FILE.json")]
    pub report: Option<OsString>,
    #[command(flatten)]
    pub device: ft_cli::DeviceArgs<ft_model::device::DeviceName>,
}

#[derive(Debug, clap::Args)]
pub struct LossArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Tokens: a Parquet file, or '-' for standard input
    #[arg(value_name = "FILE|-")]
    pub input: Option<OsString>,
    /// Write the loss of every row too, to -o
    #[arg(long)]
    pub per_example: bool,
    /// The Parquet file of --per-example: row, loss, labels, correct
    #[arg(short, long, value_name = "FILE", requires = "per_example")]
    pub output: Option<OsString>,
    /// Take only the first rows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
}

#[derive(Debug, clap::Args)]
pub struct GenerateArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Prompts: a Parquet file of 'ft-template --mode test', or '-' for standard input
    #[arg(value_name = "FILE|-")]
    pub input: Option<OsString>,
    /// The Parquet file to write the answers to ('-': standard output)
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<OsString>,
    /// The most tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_new_tokens: u32,
    /// How freely tokens are drawn; 0 takes the likeliest one
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = not_negative)]
    pub temperature: f64,
    /// Draw from this many of the likeliest tokens only
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pub top_k: Option<u32>,
    /// Draw from the likeliest tokens that have this probability together
    #[arg(long, value_name = "P", value_parser = share)]
    pub top_p: Option<f64>,
    /// Seed of the draws; each row has its own stream
    #[arg(long, value_name = "S", default_value_t = 42)]
    pub seed: u64,
    /// Take only the first rows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
}

#[derive(Debug, clap::Args)]
pub struct ChoiceArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Questions: Arrow, Parquet, JSON lines or CSV, or '-' for standard input
    #[arg(value_name = "FILE|-")]
    pub input: Option<OsString>,
    /// 'letters' lists the choices and compares the letters; 'text' compares the choices' own text
    #[arg(long, value_enum, default_value = "letters")]
    pub format: Format,
    /// Ask in plain text, as a base model is asked, though the model has a chat template
    #[arg(long)]
    pub no_chat_template: bool,
    /// The task's name in the report [default: mmlu_SUBJECT, or the file's name]
    #[arg(long, value_name = "NAME")]
    pub task: Option<String>,
    /// Take only the first questions
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
}

/// How a question is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Letters,
    Text,
}

impl From<Format> for ft_measure::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Letters => Self::Letters,
            Format::Text => Self::Text,
        }
    }
}

/// How tokens are chosen.
pub fn sampling(args: &GenerateArgs) -> Result<Sampling, Usage> {
    let temperature = args.temperature;
    if temperature == 0.0 {
        if args.top_k.is_some() || args.top_p.is_some() {
            return Err(Usage("--top-k and --top-p draw tokens: give --temperature above 0 with them".into()));
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

/// Where a Parquet file goes.
pub fn target(output: Option<&OsString>) -> Result<Target, ft_io::Error> {
    Target::binary(output.map(Target::parse))
}

fn not_negative(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("'{text}' is no number"))?;
    if value.is_finite() && value >= 0.0 { Ok(value) } else { Err("expected a number of at least 0".into()) }
}

fn share(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("'{text}' is no number"))?;
    if value > 0.0 && value <= 1.0 { Ok(value) } else { Err("expected a number above 0, and 1 at most".into()) }
}
