//! What can be typed, and what it means.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;

use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
use clap::{Parser, ValueEnum};
use ft_cli::{Common, Usage};
use ft_io::{Source, Target};
use ft_text::{LabelMode, UserFormat, origin};
use serde_json::{Map, Value};

const EXAMPLES: &str = "\
Examples:
  # What ft-prep wrote, for training; every answer is learned
  ft-template --model SmolLM2.gguf train.parquet -o tokens.parquet

  # In a pipe, with a task's prefix before each question: 'Tax: [What is ...]'
  ft-prep qa.csv --split train -o - | ft-template --model DIR --prefix Tax -o - | ft-train ...

  # For ft-eval generate: ends where the answer is to begin, keeps it as 'reference'
  ft-template --model DIR --mode test test.parquet -o prompts.parquet

Input: Parquet with a column 'messages' of role and content, as ft-prep writes it. Messages may
have more fields (tool_calls, name, reasoning_content), and the template gets them all. A column 'tools' gives the functions
that the model may call, 'chat_template_kwargs' further variables of the template; both, and
'messages' and tool_calls too, may be JSON in a text. Names and meaning are those of TRL.
A message's own word goes before --labels: weight 0, train, training or loss false, or masked
true takes an answer out, and what says that it is learned is, whoever speaks.
JSON lines, and what else ft-prep reads (CSV, a JSON array, Arrow, and Parquet of other columns),
are read as ft-prep does, without its options: conversations, instruction/output, prompt/completion,
question/answer and the like.
A column 'text' in the place of 'messages' is documents to continue training on: no template,
an end token behind each, everything learned.
Output: Parquet with text, input_ids, labels (-100 where nothing is learned), length and
reference; source, source_file and source_row go with their rows, as do --keep-columns. A span
that is learned holds the turn's end token and the line break that the template puts behind it;
a token that straddles the edge of a span is learned. The template, the system text, the prefix
and the end tokens stand in the file's metadata, from where ft-train takes them.";

/// Renders conversations with the model's own chat template, cuts them into tokens and
/// marks which of them are learned.
#[derive(Debug, Parser)]
#[command(name = "ft-template", version, after_long_help = EXAMPLES)]
pub struct Args {
    /// The model whose tokenizer and template are used: a Hugging Face folder, a GGUF file, or a name on the hub (org/name, org/name@revision, org/name:Q8_0)
    #[arg(long, value_name = "DIR|GGUF|NAME")]
    pub model: PathBuf,

    /// Conversations or documents: Parquet, JSON lines or another table, or '-' for standard input
    #[arg(value_name = "INPUT")]
    input: Option<OsString>,

    /// The file to write; standard output if it is left out or '-'
    #[arg(short, long, value_name = "FILE")]
    output: Option<OsString>,

    /// 'train' renders whole conversations with labels; 'test' stops before the last answer,
    /// with the generation prompt, and keeps the answer as 'reference'
    #[arg(long, value_enum, default_value = "train")]
    pub mode: Mode,

    /// Writes each user message as 'PREFIX: [message]'
    #[arg(long, value_name = "P")]
    prefix: Option<String>,

    /// Another form of the user messages, with {input} and, where --prefix is given, {prefix}
    #[arg(long, value_name = "FORMAT")]
    user_format: Option<String>,

    /// System message of the conversations that have none of their own
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,

    /// A Jinja template to use instead of the model's own
    #[arg(long, value_name = "FILE")]
    pub chat_template: Option<PathBuf>,

    /// Tools of the rows that have none of their own: a file with a JSON list of functions
    #[arg(long, value_name = "FILE")]
    pub tools: Option<PathBuf>,

    /// A variable for the template, as 'enable_thinking=false'; the value is JSON. A row's
    /// own column 'chat_template_kwargs' goes before it. May be given several times
    #[arg(long, value_name = "KEY=JSON", value_parser = variable)]
    template_kwarg: Vec<(String, Value)>,

    /// The date for templates that write today's: YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub date: Option<NaiveDateTime>,

    /// What is learned: every answer ('assistant'), the last answer alone ('completion'), or
    /// everything
    #[arg(long, value_enum, default_value = "assistant")]
    labels: Labels,

    /// Where the template renders an earlier answer differently once more follows (it leaves
    /// out its thoughts), makes a row of each answer, as it would be asked for, instead of
    /// refusing the conversation
    #[arg(long)]
    pub expand_turns: bool,

    /// Most tokens of a row
    #[arg(
        long, visible_alias = "max-length",
        value_name = "N", value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub max_seq_length: Option<u32>,

    /// What to do with a row of more tokens: leave it out, cut off its end, stop, cut a
    /// document into several rows ('split'), or take the oldest turns out of a chat, whole,
    /// but for its system message ('left')
    #[arg(long, value_enum, default_value = "drop", requires = "max_seq_length")]
    pub overlong: Overlong,

    /// Lays documents end to end, an end token between each two, and cuts them into rows of
    /// --max-seq-length
    #[arg(long, requires = "max_seq_length")]
    pub packing: bool,

    /// Further columns of the input to keep, parted by commas
    #[arg(long, value_name = "C,...", value_delimiter = ',')]
    pub keep_columns: Vec<String>,

    /// What to do with a row of which no token would be learned
    #[arg(long, value_enum, default_value = "drop")]
    pub unlabelled: Policy,

    /// What to do with a row that the template refuses, or whose answers cannot be located
    #[arg(long, value_enum, default_value = "error")]
    pub bad_rows: Policy,

    #[command(flatten)]
    pub common: Common,
}

/// What the tokens are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    Train,
    Test,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Labels {
    Assistant,
    Completion,
    All,
}

/// What to do with rows over the length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Overlong {
    Drop,
    Truncate,
    Error,
    Split,
    Left,
}

/// Whether a row that cannot be used is left out or ends the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Policy {
    Drop,
    Error,
}

impl Args {
    /// Refuses what contradicts itself.
    pub fn check(&self) -> Result<(), Usage> {
        if self.mode == Mode::Test && self.overlong == Overlong::Truncate {
            return Err(Usage(
                "--overlong truncate cuts off the end, and with --mode test that is the question; use drop, left or error"
                    .into(),
            ));
        }
        if self.expand_turns && (self.mode == Mode::Test || self.labels == Labels::All) {
            return Err(Usage("--expand-turns is for --mode train with --labels assistant or completion".into()));
        }
        if self.packing && (self.mode == Mode::Test || !self.keep_columns.is_empty()) {
            return Err(Usage("--packing makes rows of several documents: no --mode test, no --keep-columns".into()));
        }
        Ok(())
    }

    /// Where the conversations come from.
    pub fn source(&self) -> Result<Source, Usage> {
        match &self.input {
            Some(text) => Ok(Source::parse(text)),
            None if std::io::stdin().is_terminal() => {
                Err(Usage("no input: name a file, or pipe one in; see 'ft-template --help'".into()))
            }
            None => Ok(Source::Stdin),
        }
    }

    /// Where the tokens go.
    pub fn target(&self) -> Result<Target, ft_io::Error> {
        Target::binary(self.output.as_ref().map(Target::parse))
    }

    /// The form of the user messages; `None` leaves them as they are.
    pub fn user_format(&self) -> Result<Option<UserFormat>, Usage> {
        UserFormat::new(self.prefix.as_deref(), self.user_format.as_deref()).map_err(Usage)
    }

    /// What the adapter's users need to know of the messages' form, by its key in the metadata.
    pub fn form(&self) -> Vec<(String, String)> {
        let texts = [
            (origin::SYSTEM_KEY, &self.system),
            (origin::PREFIX_KEY, &self.prefix),
            (origin::USER_FORMAT_KEY, &self.user_format),
        ];
        texts.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text.clone()?))).collect()
    }

    /// The template's variables that were typed.
    pub fn template_kwargs(&self) -> Map<String, Value> {
        self.template_kwarg.iter().cloned().collect()
    }

    pub fn label_mode(&self) -> LabelMode {
        match self.labels {
            Labels::Completion => LabelMode::Completion,
            Labels::Assistant => LabelMode::Assistant,
            Labels::All => LabelMode::All,
        }
    }
}

/// `KEY=JSON`.
fn variable(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("expected KEY=JSON, as enable_thinking=false")?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    if !is_name || matches!(name, "messages" | "add_generation_prompt") {
        return Err(format!("'{name}' cannot be set"));
    }
    let value = serde_json::from_str(value)
        .map_err(|_| format!("{value} is not JSON; texts stand in double quotes: {name}='\"{value}\"'"))?;
    Ok((name.to_owned(), value))
}

fn date(text: &str) -> Result<NaiveDateTime, String> {
    let day = || Ok(text.parse::<NaiveDate>()?.and_time(NaiveTime::MIN));
    text.parse().or_else(|_| day()).map_err(|_: chrono::ParseError| "expected YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS".into())
}
