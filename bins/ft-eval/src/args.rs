//! What is typed.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;

use candle_transformers::generation::Sampling;
use clap::{Parser, Subcommand, ValueEnum};
use ft_cli::Usage;
use ft_io::{Distinct, Source, Target};

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
    /// or the choice's text, alike in all rows) and maybe subject, as MMLU has them; Arrow, Parquet, JSON lines or CSV.
    /// Each choice is tokenized together with its question, as lm-eval does.
    Choice(ChoiceArgs),
}

/// Which model, and how it is held.
#[derive(Debug, Clone, clap::Args)]
pub struct ModelArgs {
    /// Model to evaluate: a Hugging Face folder or a GGUF file
    #[arg(long, value_name = "DIR|GGUF")]
    pub model: PathBuf,
    /// LoRA adapter to apply to it: a PEFT folder, one safetensors file, or '-' for standard input
    #[arg(long, value_name = "DIR|FILE|-")]
    pub adapter: Option<OsString>,
    /// Type that the layers' weights are held in: f32, bf16, f16, 8bit (Q8_0), 4bit (see --bnb-4bit-quant-type), or as-is
    /// (a GGUF's own blocks); computation is in f32
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    pub load_in: ft_model::layers::WeightFormat,
    #[command(flatten)]
    pub four_bit: ft_cli::FourBitArgs<ft_kernels::quant::Kind>,
    /// Sequences in a batch; results do not depend on it
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_size: u32,
    /// Write the figures to this JSON file ('-' for standard output)
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
    /// Also write the loss of every row, to -o
    #[arg(long)]
    pub per_example: bool,
    /// Parquet file of --per-example, with the columns row, loss, labels and correct; an interrupted run leaves the rows
    /// that are done
    #[arg(short, long, value_name = "FILE", requires = "per_example")]
    pub output: Option<OsString>,
    /// Evaluate only the first N rows
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

#[derive(Debug, clap::Args)]
pub struct ChoiceArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Questions: Arrow, Parquet, JSON lines or CSV, or '-' for standard input
    #[arg(value_name = "FILE|-")]
    pub input: Option<OsString>,
    /// What is scored: 'letters' lists the choices in the prompt and scores their letters, 'text' scores the text of
    /// each choice
    #[arg(long, value_enum, default_value = "letters")]
    pub format: Format,
    /// Ask in plain text, as for a base model, even if the model has a chat template
    #[arg(long)]
    pub no_chat_template: bool,
    /// Name of the task in the report [default: mmlu_SUBJECT, or the file's name]
    #[arg(long, value_name = "NAME")]
    pub task: Option<String>,
    /// Evaluate only the first N questions
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

fn not_negative(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("'{text}' is no number"))?;
    if value.is_finite() && value >= 0.0 { Ok(value) } else { Err("expected a number of at least 0".into()) }
}

fn share(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("'{text}' is no number"))?;
    if value > 0.0 && value <= 1.0 { Ok(value) } else { Err("expected a number above 0, and 1 at most".into()) }
}
