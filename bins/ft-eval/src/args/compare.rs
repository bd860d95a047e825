//! Arguments of `ft-eval compare`.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use ft_io::NamedValue;
use ft_measure::{Metric, Resampling};

use super::choice::Format;
use super::model::HeldArgs;
use super::numbers::{not_negative, share};

const MODELS: &str = "Comparing models (--on)";
const BOUNDS: &str = "Bounds (exit code 1 over one)";

#[derive(Debug, clap::Args)]
pub struct CompareArgs {
    /// What stands before: rows that 'loss --per-example', 'generate' or 'choice' wrote with -o; with --on, a model
    #[arg(value_name = "A")]
    pub a: PathBuf,
    /// What is held against it: rows of the same kind; with --on, a model
    #[arg(value_name = "B")]
    pub b: PathBuf,
    /// Hold rows of answers to be the same where their references are, and not their prompts too: for models whose
    /// templates or tokenizers differ
    #[arg(long)]
    pub by_reference: bool,
    /// Another two files of 'loss --per-example', A's and B's: rows that the model must not forget
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with = "on")]
    pub forgetting: Vec<PathBuf>,
    /// Resamples of the bootstrap
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub resamples: u32,
    /// What share of the resamples the interval of a gain holds
    #[arg(long, value_name = "P", default_value_t = 0.95, value_parser = share)]
    pub confidence: f64,
    /// Random seed of the resamples
    #[arg(long, value_name = "S", default_value_t = 42)]
    pub seed: u64,
    /// Write the figures to this JSON file ('-' for standard output)
    #[arg(long, value_name = "FILE.json")]
    pub report: Option<OsString>,
    /// Write what holds and what does not as JUnit XML, for continuous integration
    #[arg(long, value_name = "FILE.xml")]
    pub junit: Option<OsString>,
    #[command(flatten)]
    pub bounds: BoundArgs,
    #[command(flatten)]
    pub models: TwoModelsArgs,
}

/// What must hold.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = BOUNDS)]
pub struct BoundArgs {
    /// B must be better by VALUE at least, such as exact_match=0.05 or loss=0.1 (in nats); metrics are loss,
    /// exact_match, f1, rouge_l, acc and acc_norm
    #[arg(long, value_name = "METRIC=VALUE")]
    pub min_gain: Vec<Threshold>,
    /// B may be worse by VALUE at most
    #[arg(long, value_name = "METRIC=VALUE")]
    pub max_drop: Vec<Threshold>,
    /// B's own figure must be VALUE at least
    #[arg(long, value_name = "METRIC=VALUE")]
    pub at_least: Vec<Threshold>,
    /// B's own figure must be VALUE at most
    #[arg(long, value_name = "METRIC=VALUE")]
    pub at_most: Vec<Threshold>,
    /// By how much the loss on --forgetting or --forgetting-on may grow, in nats [default: 0.05]
    #[arg(long, value_name = "VALUE", value_parser = not_negative)]
    pub max_forgetting: Option<f64>,
    /// Hold --min-gain, --max-drop and --max-forgetting against the worse end of the interval, not against the mean: what
    /// chance may have given does not count
    #[arg(long)]
    pub confident: bool,
}

/// How two models are measured.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = MODELS)]
pub struct TwoModelsArgs {
    /// Measure models A and B on these rows: tokens with labels (loss), prompts (greedy answers) or questions (choices)
    #[arg(long, value_name = "FILE", conflicts_with = "by_reference")]
    pub on: Option<PathBuf>,
    /// LoRA adapter of A
    #[arg(long, value_name = "DIR|FILE", requires = "on")]
    pub adapter_a: Option<OsString>,
    /// LoRA adapter of B
    #[arg(long, value_name = "DIR|FILE", requires = "on")]
    pub adapter_b: Option<OsString>,
    /// Tokens with labels that B must not forget
    #[arg(long, value_name = "FILE", requires = "on")]
    pub forgetting_on: Option<PathBuf>,
    /// Maximum number of new tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_new_tokens: u32,
    /// How questions are put, as 'ft-eval choice' has it
    #[arg(long, value_enum, default_value = "letters")]
    pub format: Format,
    /// Ask questions in plain text, even if the model has a chat template
    #[arg(long)]
    pub no_chat_template: bool,
    #[command(flatten)]
    pub held: HeldArgs,
}

impl CompareArgs {
    pub fn resampling(&self) -> Resampling {
        Resampling { resamples: self.resamples as usize, confidence: self.confidence, seed: self.seed }
    }
}

/// A bound of one metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    pub metric: Metric,
    pub value: f64,
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("expected METRIC=VALUE, such as exact_match=0.05")?;
        let names: Vec<&str> = Metric::VALUES.iter().map(|value| value.0.name()).collect();
        let metric =
            Metric::named(name).ok_or_else(|| format!("'{name}' is no metric; there are {}", names.join(", ")))?;
        let value: f64 = value.parse().map_err(|_| format!("'{value}' is no number"))?;
        if value.is_finite() { Ok(Self { metric, value }) } else { Err("expected a finite number".into()) }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.metric.name(), self.value)
    }
}
