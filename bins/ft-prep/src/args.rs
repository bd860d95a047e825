//! What is typed.

use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use ft_cli::Common;
use ft_io::{Source, Target};
use ft_table::Format;
use ft_table::shapes::{Preference, Reading, Roles, Shape};

use crate::split::{Side, TestSize};

const ABOUT: &str = "Turn rows of any common format and shape into examples for fine-tuning";

const LONG_ABOUT: &str = "\
Turn rows of any common format and shape into examples for fine-tuning.

Reads CSV, TSV, JSON lines, a JSON array, Parquet or Arrow, plain or compressed with gzip or \
zstd, from files or a pipe. Writes Parquet with one column, messages: list<struct<role, \
content, …>>, which ft-template takes next, and the columns that --keep-columns names.

These shapes are known by their columns:

  messages                   a list of {role, content}
  conversations              ShareGPT: a list of {from, value}
  instruction, output        Alpaca; with input and history where they are there
  prompt, completion         text, or lists of messages, also as JSON in a text;
                             so are prompt, response and the like:
  question, answer           also query, response; instruction, response
  input, ideal               evals: messages or text, and the answer or a list of answers
  input, output              text
  prompt, chosen, rejected   preference pairs: --preference says which side is read
  text                       whole documents to go on learning with: no messages

Beside each of them (but text) stand, where the input has them: system, a system message for \
a row that has none; tools (or functions, the old form) and chat_template_kwargs, which the \
template takes.

A message keeps role, content, name, reasoning_content (or reasoning, thinking), tool_calls \
(or function_call), tool_call_id, and whether it is learned: weight 0 or 1, train, training, \
loss, masked. What is not read, a column, a key or a field, is told.

Anything else is named: --input-column and --output-column for question and answer, \
--messages-column for a conversation.

A row without a question or without an answer is dropped and counted, and so is one with an \
image, audio or a file in it; a row that cannot be understood is an error that names its line.";

const EXAMPLES: &str = "\
Examples:
  ft-prep chats.jsonl -o examples.parquet
  ft-prep faq.csv --input-column question --output-column answer --test-size 0.1 -o data/
  zcat dump.json.gz | ft-prep - --dedup -o - | ft-template --model MODEL -o tokens.parquet
  ft-prep a.parquet b.csv.zst --test-size 500 --split test --seed 7 -o test.parquet

--test-size F takes ceil(F x rows) rows for the test side, N takes N rows; the same seed and \
rows always give the same sides, from files or pipes. Both sides keep the order of the input.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.";

/// Arguments of `ft-prep`.
#[derive(Debug, Parser)]
#[command(name = "ft-prep", version, about = ABOUT, long_about = LONG_ABOUT, after_help = EXAMPLES)]
pub struct Args {
    /// Files to read, one after the other; - is standard input
    #[arg(value_name = "INPUT", required = true)]
    pub inputs: Vec<Source>,

    /// Format of the inputs [default: told by content and name]
    #[arg(long, value_name = "FORMAT", value_parser = formats())]
    pub format: Option<Format>,

    /// Column that holds the question
    #[arg(long, value_name = "C", help_heading = "Columns")]
    pub input_column: Option<String>,

    /// Column that holds the answer
    #[arg(long, value_name = "C", help_heading = "Columns")]
    pub output_column: Option<String>,

    /// Column that holds the system message
    #[arg(long, value_name = "C", help_heading = "Columns")]
    pub system_column: Option<String>,

    /// Column that holds the conversation, or all of it but the answer where
    /// --output-column is given
    #[arg(long, value_name = "C", help_heading = "Columns", conflicts_with = "input_column")]
    pub messages_column: Option<String>,

    /// Columns to keep beside the messages, separated by commas
    #[arg(long, value_name = "C,C", value_delimiter = ',', help_heading = "Columns")]
    pub keep_columns: Vec<String>,

    /// Names of roles that are not known, such as narrator=system,expert=assistant
    #[arg(long, value_name = "FROM=TO,…", help_heading = "Messages")]
    pub roles: Option<Roles>,

    /// System message of the rows that have none
    #[arg(long, value_name = "TEXT", help_heading = "Messages")]
    pub system: Option<String>,

    /// Side of preference pairs to read: chosen or rejected
    #[arg(long, value_name = "SIDE", value_parser = sides(), help_heading = "Messages")]
    pub preference: Option<Preference>,

    /// Rows of the test side: a share such as 0.1, or a number such as 500
    #[arg(long, value_name = "F|N", help_heading = "Split")]
    pub test_size: Option<TestSize>,

    /// Seed of the split
    #[arg(long, value_name = "S", default_value_t = 42, help_heading = "Split")]
    pub seed: u64,

    /// Write this side only
    #[arg(long, value_name = "SIDE", value_enum, help_heading = "Split")]
    pub split: Option<Side>,

    /// Drop rows whose messages came before (keeps 16 bytes a row in memory)
    #[arg(long)]
    pub dedup: bool,

    /// Write the counts to this file as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    pub report: Option<Target>,

    /// Where to write: a Parquet file; with --test-size a folder for
    /// train.parquet and test.parquet; - is standard output [default: -]
    #[arg(short, long, value_name = "PATH")]
    pub output: Option<Target>,

    /// Arguments of all programs.
    #[command(flatten)]
    pub common: Common,
}

impl Args {
    /// How rows are read.
    pub fn reading(&self) -> Reading {
        let system = self.system.clone().filter(|text| !text.trim().is_empty());
        Reading { roles: self.roles.clone().unwrap_or_default(), system, preference: self.preference }
    }

    /// The shape that the arguments name, if they name one.
    pub fn shape(&self) -> Option<Shape> {
        let is_conversation = self.messages_column.is_some();
        let input = self.messages_column.as_ref().or(self.input_column.as_ref())?;
        let (output, system) = (self.output_column.as_deref(), self.system_column.as_deref());
        Some(Shape::named(input, is_conversation, output, system))
    }
}

fn sides() -> impl TypedValueParser<Value = Preference> {
    PossibleValuesParser::new(["chosen", "rejected"]).try_map(|name| name.parse::<Preference>())
}

fn formats() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(Format::ALL.map(Format::name)).try_map(|name| name.parse::<Format>())
}
