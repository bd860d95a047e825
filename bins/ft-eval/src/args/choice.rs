//! Arguments of `ft-eval choice`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::ValueEnum;
use ft_measure::ShotSampler;

use super::model::ModelArgs;

#[derive(Debug, clap::Args)]
pub struct ChoiceArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Questions: Arrow, Parquet, JSON lines or CSV, or '-' for standard input
    #[arg(value_name = "FILE|-")]
    pub input: Option<OsString>,
    /// Write how each question was answered to this Parquet file ('-' for standard output): log_likelihoods, chosen, acc,
    /// and with --format text acc_norm; an interrupted run leaves the questions that are done
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<OsString>,
    /// What is scored: 'letters' lists the choices in the prompt and scores their letters, 'text' scores the text of
    /// each choice, in the model's chat template if it has one; the others are lm-eval's tasks: their data sets' columns,
    /// their words, no template
    #[arg(long, value_enum, default_value = "letters")]
    pub format: Format,
    /// Examples with their answers before each question, from --fewshot; for the formats of lm-eval's tasks
    #[arg(long, value_name = "N", default_value_t = 0, requires = "fewshot")]
    pub num_fewshot: u32,
    /// Where the examples come from: rows as the questions are; of a question's own subject, where they have one
    #[arg(long, value_name = "FILE", requires = "num_fewshot")]
    pub fewshot: Option<PathBuf>,
    /// Which examples: 'first-n' takes the first ones, 'default' draws them as lm-eval does; 'auto' is first-n for mmlu
    /// and default for all others, as in lm-eval
    #[arg(long, value_enum, default_value = "auto")]
    pub fewshot_sampler: FewshotSampler,
    /// Random seed of --fewshot-sampler default
    #[arg(long, value_name = "S", default_value_t = 1234)]
    pub fewshot_seed: u64,
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
    Mmlu,
    Arc,
    Hellaswag,
    Piqa,
    Boolq,
    #[value(alias = "commonsense_qa", alias = "commonsenseqa")]
    CommonsenseQa,
}

/// Which examples stand before a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FewshotSampler {
    Auto,
    Default,
    FirstN,
}

impl ChoiceArgs {
    /// How examples are chosen.
    pub fn shot_sampler(&self) -> ShotSampler {
        match self.fewshot_sampler {
            FewshotSampler::FirstN => ShotSampler::First,
            FewshotSampler::Auto if self.format == Format::Mmlu => ShotSampler::First,
            _ => ShotSampler::Random { seed: self.fewshot_seed },
        }
    }
}

impl From<Format> for ft_measure::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Letters => Self::Letters,
            Format::Text => Self::Text,
            Format::Mmlu => Self::Mmlu,
            Format::Arc => Self::Arc,
            Format::Hellaswag => Self::Hellaswag,
            Format::Piqa => Self::Piqa,
            Format::Boolq => Self::Boolq,
            Format::CommonsenseQa => Self::CommonsenseQa,
        }
    }
}
