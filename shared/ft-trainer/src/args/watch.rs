//! When the run logs, evaluates and saves, and what it keeps.

use clap::ValueEnum;

use super::values::{every, not_negative, steps};

/// Logging.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Logging")]
pub struct LogArgs {
    /// When the loss is logged
    #[arg(long, value_name = "WHEN", value_enum, default_value = "steps")]
    pub logging_strategy: Interval,
    /// Log every N steps (below 1: a share of all steps)
    #[arg(long, value_name = "N", default_value_t = 10.0, value_parser = steps)]
    pub logging_steps: f64,
    /// Log the first step as well
    #[arg(long)]
    pub logging_first_step: bool,
    /// Where the figures go, besides stderr
    #[arg(long, value_name = "WHERE", num_args = 1.., value_delimiter = ',', action = clap::ArgAction::Set,
        default_value = "jsonl", value_parser = report)]
    pub report_to: Vec<Report>,
    /// What the run is called in its records
    #[arg(long, value_name = "NAME")]
    pub run_name: Option<String>,
    /// How much is said: debug, info, warning, error, critical or passive (as -q and -v say)
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
    #[arg(long, alias = "evaluation-strategy", value_name = "WHEN", value_enum)]
    pub eval_strategy: Option<Interval>,
    /// Evaluate every N steps (below 1: a share of all steps) [default: --logging-steps]
    #[arg(long, value_name = "N", value_parser = steps)]
    pub eval_steps: Option<f64>,
    /// Evaluate before the first step
    #[arg(long)]
    pub eval_on_start: bool,
    /// Epochs, or steps where the evaluation goes by steps, before the first evaluation
    #[arg(long, value_name = "N", default_value_t = 0.0, value_parser = not_negative)]
    pub eval_delay: f64,
    /// When a checkpoint is written
    #[arg(long, value_name = "WHEN", value_enum, default_value = "steps")]
    pub save_strategy: SaveStrategy,
    /// Write a checkpoint every N steps (below 1: a share of all steps); 0: none
    #[arg(long, value_name = "N", default_value_t = 500.0, value_parser = steps)]
    pub save_steps: f64,
    /// Keep this many checkpoints, the newest [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub save_total_limit: Option<u32>,
    /// Keep the K checkpoints with the best metric beside the newest one, and rank them in an index file
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pub save_best_k: Option<u32>,
    /// End with the adapter of the best checkpoint
    #[arg(long)]
    pub load_best_model_at_end: bool,
    /// What is best: a key of the evaluation, with or without eval_ [default: loss]
    #[arg(long, value_name = "KEY")]
    pub metric_for_best_model: Option<String>,
    /// Whether more is better [default: unless the metric's name ends in loss]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", value_parser = clap::builder::BoolishValueParser::new())]
    pub greater_is_better: Option<bool>,
    /// Stop after this many evaluations in a row that are not better
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub early_stopping_patience: Option<u32>,
    /// By how much a metric must be better to count for --early-stopping-patience
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = not_negative)]
    pub early_stopping_threshold: f64,
}

impl LogArgs {
    /// Every how many steps of `all` something is logged; none where steps do not decide it.
    pub fn every(&self, all: u64) -> Option<u64> {
        if self.logging_strategy == Interval::Steps { every(self.logging_steps, all) } else { None }
    }
}

impl WatchArgs {
    /// `--eval-strategy`, or what the other arguments say of it.
    pub fn eval_strategy(&self) -> Interval {
        let implied = if self.eval_steps.is_some_and(|n| n > 0.0) { Interval::Steps } else { Interval::No };
        self.eval_strategy.unwrap_or(implied)
    }

    /// Every how many steps of `all` the model is evaluated; none where steps do not decide it.
    pub fn eval_every(&self, log: &LogArgs, all: u64) -> Option<u64> {
        if self.eval_strategy() == Interval::Steps {
            every(self.eval_steps.unwrap_or(log.logging_steps), all)
        } else {
            None
        }
    }

    /// Every how many steps of `all` a checkpoint is written; none where steps do not decide it.
    pub fn save_every(&self, all: u64) -> Option<u64> {
        if self.save_strategy == SaveStrategy::Steps { every(self.save_steps, all) } else { None }
    }

    /// The key of an evaluation that says which one is best, as `eval_loss`.
    pub fn best_metric(&self) -> String {
        let name = self.metric_for_best_model.as_deref().unwrap_or("loss");
        if name.starts_with("eval_") { name.to_owned() } else { format!("eval_{name}") }
    }

    /// Whether more of [`Self::best_metric`] is better.
    pub fn more_is_better(&self) -> bool {
        self.greater_is_better.unwrap_or_else(|| !self.best_metric().ends_with("loss"))
    }
}

/// `--logging-strategy`, `--eval-strategy`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Interval {
    /// Never
    No,
    /// Every so many steps
    Steps,
    /// At the end of every epoch
    Epoch,
}

/// `--save-strategy`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SaveStrategy {
    /// Never
    No,
    /// Every so many steps
    Steps,
    /// At the end of every epoch
    Epoch,
    /// After an evaluation that was the best one
    Best,
}

/// `--report-to`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// `metrics.jsonl`
    Jsonl,
    /// TensorBoard's event files
    Tensorboard,
    /// Nowhere
    None,
}

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
        "jsonl" => Ok(Report::Jsonl),
        "tensorboard" => Ok(Report::Tensorboard),
        "none" => Ok(Report::None),
        "all" => Err("name them: jsonl tensorboard".into()),
        _ => Err("this program sends nothing over a network; expected tensorboard, jsonl or none".into()),
    }
}
