//! When the run logs, evaluates and saves, and what it keeps.

use std::path::PathBuf;

use clap::ValueEnum;
use ft_cli::named_value;
use ft_trainer::options::{Interval, ReportTo, SaveStrategy};

use super::values::{not_negative, steps};

/// Logging.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Logging")]
pub struct LogArgs {
    /// Log the loss by steps, by epochs or not
    #[arg(long, value_name = "WHEN", default_value = "steps", value_parser = named_value::<Interval>())]
    pub logging_strategy: Interval,
    /// Log every N steps (below 1: a fraction of all steps)
    #[arg(long, value_name = "N", default_value_t = 10.0, value_parser = steps)]
    pub logging_steps: f64,
    /// Log the first step as well
    #[arg(long)]
    pub logging_first_step: bool,
    /// Where to write metrics besides stderr: jsonl (metrics.jsonl), tensorboard, none
    #[arg(long, value_name = "WHERE", num_args = 1.., value_delimiter = ',', action = clap::ArgAction::Set,
        default_value = "jsonl", value_parser = report)]
    pub report_to: Vec<Report>,
    /// Write rows.jsonl beside the adapter: the rows that each step sees, by their number in the training file, with the
    /// source file and row that they were made of where the file tells (ft-prep --lineage)
    #[arg(long)]
    pub log_rows: bool,
    /// Name of the run in its logs
    #[arg(long, value_name = "NAME")]
    pub run_name: Option<String>,
    /// Verbosity of messages: debug, info, warning, error, critical or passive (as -q and -v say)
    #[arg(long, value_name = "LEVEL", value_enum, default_value = "passive")]
    pub log_level: LogLevel,
    /// Draw no progress bar
    #[arg(long)]
    pub disable_tqdm: bool,
}

/// Evaluation, checkpoints, early stopping.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Evaluation and checkpoints")]
pub struct WatchArgs {
    /// When the model is evaluated, besides the end [default: no; steps where --eval-steps is given]
    #[arg(long, alias = "evaluation-strategy", value_name = "WHEN", value_parser = named_value::<Interval>())]
    pub eval_strategy: Option<Interval>,
    /// Evaluate every N steps (below 1: a fraction of all steps) [default: --logging-steps]
    #[arg(long, value_name = "N", value_parser = steps)]
    pub eval_steps: Option<f64>,
    /// Prompts (ft-template --mode test) to answer at each evaluation, greedily and as 'ft-eval generate' does: their exact
    /// match and F1 are eval_exact_match and eval_f1. Ranks share them out; with sharded weights each answers all
    #[arg(long, value_name = "FILE")]
    pub eval_generate: Option<PathBuf>,
    /// The most tokens of such an answer
    #[arg(long, value_name = "N", default_value_t = ft_measure::DEFAULT_NEW_TOKENS,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub eval_max_new_tokens: u32,
    /// Evaluate before the first step
    #[arg(long)]
    pub eval_on_start: bool,
    /// Wait this many epochs (steps with --eval-strategy steps) before the first evaluation
    #[arg(long, value_name = "N", default_value_t = 0.0, value_parser = not_negative)]
    pub eval_delay: f64,
    /// When a checkpoint is written
    #[arg(long, value_name = "WHEN", default_value = "steps", value_parser = named_value::<SaveStrategy>())]
    pub save_strategy: SaveStrategy,
    /// Write a checkpoint every N steps (below 1: a fraction of all steps); 0: none
    #[arg(long, value_name = "N", default_value_t = 500.0, value_parser = steps)]
    pub save_steps: f64,
    /// Keep only the N newest checkpoints [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub save_total_limit: Option<u32>,
    /// Keep the K checkpoints with the best metric beside the newest one, and rank them in an index file
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pub save_best_k: Option<u32>,
    /// End with the adapter of the best checkpoint
    #[arg(long)]
    pub load_best_model_at_end: bool,
    /// Metric that says which checkpoint is best: loss, mean_token_accuracy or, with --eval-generate, exact_match or f1,
    /// with or without eval_ [default: loss]
    #[arg(long, value_name = "KEY")]
    pub metric_for_best_model: Option<String>,
    /// Whether a higher metric is better [default: true unless its name ends in loss]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", value_parser = clap::builder::BoolishValueParser::new())]
    pub greater_is_better: Option<bool>,
    /// Stop after this many evaluations in a row that are not better
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub early_stopping_patience: Option<u32>,
    /// Smallest improvement that counts for --early-stopping-patience
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = not_negative)]
    pub early_stopping_threshold: f64,
}

impl LogArgs {
    /// What `--report-to` names; nothing where it says none.
    pub fn reports(&self) -> Vec<ReportTo> {
        self.report_to.iter().map(|report| report.0).collect::<Option<_>>().unwrap_or_default()
    }
}

impl WatchArgs {
    /// `--eval-strategy`, or what the other arguments say of it.
    pub fn eval_strategy(&self) -> Interval {
        let implied = if self.eval_steps.is_some_and(|n| n > 0.0) { Interval::Steps } else { Interval::No };
        self.eval_strategy.unwrap_or(implied)
    }
}

/// One word of `--report-to`; none says nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report(Option<ReportTo>);

/// `--log-level`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Everything
    Debug,
    /// What people want to know
    Info,
    /// Warnings and errors
    #[value(alias = "warn")]
    Warning,
    /// Errors, and warnings with them
    Error,
    /// As error
    Critical,
    /// As --quiet and --verbose say
    Passive,
}

fn report(text: &str) -> Result<Report, String> {
    match text {
        "jsonl" => Ok(Report(Some(ReportTo::Jsonl))),
        "tensorboard" => Ok(Report(Some(ReportTo::Tensorboard))),
        "none" => Ok(Report(None)),
        "all" => Err("name them: jsonl tensorboard".into()),
        _ => Err("this program sends nothing over a network; expected tensorboard, jsonl or none".into()),
    }
}
