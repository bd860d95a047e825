//! When the run logs, evaluates and saves, and what it keeps.

use std::path::PathBuf;

/// Logging.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// When the loss is logged.
    pub logging_strategy: Interval,
    /// Steps between logs; below 1 a share of all steps.
    pub logging_steps: f64,
    /// Whether the first step is logged as well.
    pub logging_first_step: bool,
    /// Where the figures go.
    pub report_to: Vec<ReportTo>,
    /// Whether `rows.jsonl` in the output folder says which rows each step sees.
    pub log_rows: bool,
    /// What the run is called in its records; the output folder's name where it is none.
    pub run_name: Option<String>,
}

/// What answers to prompts come to, in an evaluation's log entry: the share that is right, and the mean F1 of their words.
pub const EXAMINATION_KEYS: [&str; 2] = ["eval_exact_match", "eval_f1"];

/// Evaluation, checkpoints, early stopping.
#[derive(Debug, Clone)]
pub struct EvaluationOptions {
    /// Prompts that are answered at each evaluation.
    pub eval_generate: Option<PathBuf>,
    /// The most tokens of such an answer.
    pub eval_max_new_tokens: u32,
    /// When the model is evaluated, besides the end.
    pub eval_strategy: Interval,
    /// Steps between evaluations; below 1 a share of all steps. `logging_steps` where it is none.
    pub eval_steps: Option<f64>,
    /// Whether the model is evaluated before the first step.
    pub eval_on_start: bool,
    /// Epochs, or steps where the evaluation goes by steps, before the first evaluation.
    pub eval_delay: f64,
    /// When a checkpoint is written.
    pub save_strategy: SaveStrategy,
    /// Steps between checkpoints; below 1 a share of all steps, and 0 for none.
    pub save_steps: f64,
    /// Checkpoints to keep, the newest; all of them where it is none.
    pub save_total_limit: Option<u32>,
    /// Checkpoints to keep beside the newest one, those with the best metric.
    pub save_best_k: Option<u32>,
    /// Whether the run ends with the adapter of the best checkpoint.
    pub load_best_model_at_end: bool,
    /// The key of an evaluation that says which one is best, with or without `eval_`; the loss where it is none.
    pub metric_for_best_model: Option<String>,
    /// Whether more of it is better; where it is none, unless its name ends in `loss`.
    pub greater_is_better: Option<bool>,
    /// Evaluations in a row that are not better, after which the run stops.
    pub early_stopping_patience: Option<u32>,
    /// By how much a metric must be better to count.
    pub early_stopping_threshold: f64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            logging_strategy: Interval::Steps,
            logging_steps: 10.0,
            logging_first_step: false,
            report_to: vec![ReportTo::Jsonl],
            log_rows: false,
            run_name: None,
        }
    }
}

impl Default for EvaluationOptions {
    fn default() -> Self {
        Self {
            eval_generate: None,
            eval_max_new_tokens: 128,
            eval_strategy: Interval::No,
            eval_steps: None,
            eval_on_start: false,
            eval_delay: 0.0,
            save_strategy: SaveStrategy::Steps,
            save_steps: 500.0,
            save_total_limit: None,
            save_best_k: None,
            load_best_model_at_end: false,
            metric_for_best_model: None,
            greater_is_better: None,
            early_stopping_patience: None,
            early_stopping_threshold: 0.0,
        }
    }
}

/// Every how many steps something is due, of a number of steps or a share of `all` steps; none where it is 0.
fn every(steps: f64, all: u64) -> Option<u64> {
    let every = if steps < 1.0 { (steps * all as f64).ceil() } else { steps };
    (every > 0.0).then_some(every as u64)
}

impl LogOptions {
    /// Every how many steps of `all` something is logged; none where steps do not decide it.
    pub fn every(&self, all: u64) -> Option<u64> {
        if self.logging_strategy == Interval::Steps { every(self.logging_steps, all) } else { None }
    }
}

impl EvaluationOptions {
    /// Every how many steps of `all` the model is evaluated; none where steps do not decide it.
    pub fn eval_every(&self, log: &LogOptions, all: u64) -> Option<u64> {
        if self.eval_strategy == Interval::Steps {
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

ft_io::named_values! {
    /// `logging_strategy`, `eval_strategy`
    pub enum Interval {
        /// Never
        No = ["no"],
        /// Every so many steps
        Steps = ["steps"],
        /// At the end of every epoch
        Epoch = ["epoch"],
    }
}

ft_io::named_values! {
    /// `save_strategy`
    pub enum SaveStrategy {
        /// Never
        No = ["no"],
        /// Every so many steps
        Steps = ["steps"],
        /// At the end of every epoch
        Epoch = ["epoch"],
        /// After an evaluation that was the best one
        Best = ["best"],
    }
}

/// `report_to`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportTo {
    /// `metrics.jsonl`
    Jsonl,
    /// TensorBoard's event files
    Tensorboard,
}
