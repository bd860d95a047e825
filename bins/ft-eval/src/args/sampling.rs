//! How tokens are chosen, and where an answer ends.

use clap::ValueEnum;
use ft_cli::Usage;
use ft_measure::{GenerationConfig, Sampling};

use super::numbers::{not_negative, positive, share, share_or_none};

const HEADING: &str = "How tokens are chosen (as transformers does)";

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = HEADING)]
pub struct SamplingArgs {
    /// Sampling temperature; 0 is greedy
    #[arg(long, value_name = "T", value_parser = not_negative)]
    pub temperature: Option<f64>,
    /// Sample from the K most likely tokens only; 0 is all
    #[arg(long, value_name = "K")]
    pub top_k: Option<u32>,
    /// Nucleus sampling: sample from the smallest set of most likely tokens whose probabilities add up to P; after
    /// --temperature and --top-k
    #[arg(long, value_name = "P", value_parser = share)]
    pub top_p: Option<f64>,
    /// Sample from tokens that are at least P times as likely as the likeliest one; after --top-p
    #[arg(long, value_name = "P", value_parser = share_or_none)]
    pub min_p: Option<f64>,
    /// Divide the logits of tokens that are in the prompt or the answer already by F (multiply negative ones); before all
    /// others, and also for greedy answers
    #[arg(long, value_name = "F", value_parser = positive)]
    pub repetition_penalty: Option<f64>,
    /// End an answer before this text; may be given several times
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub stop: Vec<String>,
    /// Whether the model's generation_config.json says what is not typed: 'auto' follows it for a person's questions, and
    /// is greedy over files, which are for measuring
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    pub generation_config: Follow,
    /// Random seed of sampling; each row has its own stream
    #[arg(long, value_name = "S", default_value_t = 42)]
    pub seed: u64,
}

/// Whether `generation_config.json` is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Follow {
    Auto,
    Always,
    Never,
}

impl SamplingArgs {
    /// Whether `generation_config.json` is read, where a person asks or not.
    pub fn follows(&self, is_person: bool) -> bool {
        match self.generation_config {
            Follow::Auto => is_person,
            Follow::Always => true,
            Follow::Never => false,
        }
    }

    /// What is asked of tokens; what is not typed as `config` says.
    pub fn resolve(&self, config: Option<&GenerationConfig>) -> Result<Sampling, Usage> {
        let config = config.map_or(Sampling::GREEDY, |config| config.sampling);
        let temperature = self.temperature.unwrap_or(config.temperature);
        let repetition_penalty = self.repetition_penalty.unwrap_or(config.repetition_penalty);
        if temperature == 0.0 {
            if self.top_k.is_some() || self.top_p.is_some() || self.min_p.is_some() {
                let told = "--top-k, --top-p and --min-p are for sampling: they need a --temperature above 0";
                return Err(Usage(told.into()));
            }
            return Ok(Sampling { repetition_penalty, ..Sampling::GREEDY });
        }
        Ok(Sampling {
            temperature,
            top_k: self.top_k.map_or(config.top_k, |k| Some(k as usize)).filter(|&k| k > 0),
            top_p: self.top_p.or(config.top_p),
            min_p: self.min_p.or(config.min_p),
            repetition_penalty,
        })
    }
}
