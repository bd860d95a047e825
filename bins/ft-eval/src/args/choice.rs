//! Arguments of `ft-eval choice`.

use std::ffi::OsString;

use clap::ValueEnum;

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
