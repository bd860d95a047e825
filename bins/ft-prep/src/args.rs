//! What is typed.

use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use ft_cli::Common;
use ft_io::{Source, Target};
use ft_table::Format;

use crate::split::{Side, TestSize};

const ABOUT: &str = "Turn rows of any common format and shape into examples for fine-tuning";

const LONG_ABOUT: &str = "\
Turn rows of any common format and shape into examples for fine-tuning.

Reads CSV, TSV, JSON lines, a JSON array, Parquet or Arrow, plain or compressed with gzip or \
zstd, from files or a pipe. Writes Parquet with one column, messages: list<struct<role, \
content>>, which ft-template takes next, and the columns that --keep-columns names.

These shapes are known by their columns:

  messages                   a list of {role, content}
  conversations              ShareGPT: a list of {from, value}; system
  instruction, output        Alpaca; with input, system, history where they are there
  prompt, completion         text, or lists of messages
  input, ideal               evals: messages or text, and the answer or a list of answers
  input, output              text

Anything else is named: --input-column and --output-column for question and answer, \
--messages-column for a conversation.

A row without a question or without an answer is dropped and counted; a row that cannot be \
understood is an error that names its line.";

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

fn formats() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(Format::ALL.map(Format::name)).try_map(|name| name.parse::<Format>())
}
