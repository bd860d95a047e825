//! What is typed.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, ValueEnum};
use ft_cli::Common;
use ft_io::{Source, Target};
use ft_table::shapes::{Preference, Reading, Roles, Shape};
use ft_table::{Format, ReadOptions, TextEncoding};

use crate::facts::Wanted;
use crate::help::{ABOUT, EXAMPLES, LONG_ABOUT};
use crate::shares::{Share, Until};
use crate::split::{Side, TestSize};
use crate::values::{delimiter, similarity};

/// Arguments of `ft-prep`.
#[derive(Debug, Parser)]
#[command(name = "ft-prep", version, about = ABOUT, long_about = LONG_ABOUT, after_help = EXAMPLES)]
pub struct Args {
    /// Files to read, one after the other; folders, patterns such as
    /// 'data/*.jsonl', named pipes; - is standard input
    #[arg(value_name = "INPUT", required_unless_present = "mix")]
    pub inputs: Vec<Source>,

    /// Format of the inputs [default: told by content and name]
    #[arg(long, value_name = "FORMAT", value_parser = formats())]
    pub format: Option<Format>,

    /// Byte between the fields of CSV: a character, or tab [default: told by the content]
    #[arg(long, value_name = "C", value_parser = delimiter, help_heading = "Reading")]
    pub delimiter: Option<u8>,

    /// Encoding of text inputs, such as windows-1252, latin1 or shift_jis
    /// [default: UTF-8, or UTF-16 where the first bytes are]
    #[arg(long, value_name = "NAME", help_heading = "Reading")]
    pub encoding: Option<TextEncoding>,

    /// What becomes of a row that cannot be read or understood: a ragged line of
    /// CSV, a line that is no JSON, a message with an unknown role
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = OnFault::Error, help_heading = "Reading")]
    pub bad_rows: OnFault,

    /// What becomes of a row with an image, audio, video or a file in it
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = OnFault::Drop, help_heading = "Reading")]
    pub non_text: OnFault,

    /// Take this many examples: the first ones, or with --shuffle any
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Reading")]
    pub limit: Option<u64>,

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
    #[arg(long, value_name = "SIDE", value_parser = sides(), help_heading = "Messages", conflicts_with_all = ["input_column", "messages_column"])]
    pub preference: Option<Preference>,

    /// Inputs to mix: rows are drawn from each as often as its weight says, in an
    /// order that the seed decides; a column 'source' names the input
    #[arg(long, value_name = "FILE=WEIGHT", num_args = 1.., help_heading = "Mix", conflicts_with_all = ["inputs", "limit"])]
    pub mix: Vec<Share>,

    /// When a mix ends: first, as soon as one input has no more rows; all, when
    /// every input was read once, those that end before beginning again; or
    /// after N rows
    #[arg(long, value_name = "first|all|N", default_value = "first", requires = "mix", help_heading = "Mix")]
    pub mix_until: Until,

    /// Rows of the test side: a share such as 0.1, or a number such as 500
    #[arg(long, value_name = "F|N", help_heading = "Split")]
    pub test_size: Option<TestSize>,

    /// Column of which no value is on both sides: a client, a document (keeps
    /// about 100 bytes a row in memory)
    #[arg(long, value_name = "C", requires = "test_size", help_heading = "Split")]
    pub group_column: Option<String>,

    /// Rows of which the similarity (see --near-dedup) is at least S, or which have
    /// a row between them that is so near to both, are not on both sides
    #[arg(long, value_name = "S", value_parser = similarity, requires = "test_size", help_heading = "Split")]
    pub group_near: Option<f64>,

    /// Column of which both sides have each value in proportion: a label (keeps
    /// about 100 bytes a row in memory)
    #[arg(long, value_name = "C", requires = "test_size", help_heading = "Split")]
    pub stratify_column: Option<String>,

    /// List the test rows that are in the training side, or nearly: similarity
    /// and both places, as JSON lines (keeps 1 KB and 4 bytes a word in memory
    /// for each row)
    #[arg(long, value_name = "FILE", requires = "test_size", help_heading = "Split")]
    pub leak_report: Option<Target>,

    /// Similarity from which --leak-report lists a row
    #[arg(long, value_name = "S", default_value_t = 0.6, value_parser = similarity, help_heading = "Split")]
    pub leak_similarity: f64,

    /// Seed of the split, the order and the mix
    #[arg(long, value_name = "S", default_value_t = 42, help_heading = "Split")]
    pub seed: u64,

    /// Write this side only
    #[arg(long, value_name = "SIDE", value_enum, help_heading = "Split")]
    pub split: Option<Side>,

    /// Write the rows in a random order, which the seed decides
    #[arg(long, help_heading = "Split")]
    pub shuffle: bool,

    /// Drop rows whose messages came before (keeps 32 bytes a row in memory)
    #[arg(long, help_heading = "Copies")]
    pub dedup: bool,

    /// Drop rows that are nearly one before them: of the three-word runs of
    /// both, without the system message, at least this share is in both, such as
    /// 0.8 (keeps 1 KB and 4 bytes a word in memory for each row)
    #[arg(long, value_name = "S", value_parser = similarity, help_heading = "Copies")]
    pub near_dedup: Option<f64>,

    /// Write where each row comes from: the columns source_file and source_row
    /// (the line of a text, the number of a row)
    #[arg(long)]
    pub lineage: bool,

    /// Write the rows that are dropped to this file, each with its reason, as
    /// JSON lines; - is standard output
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<Target>,

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

/// What becomes of a row that is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnFault {
    /// The program fails and names the row.
    Error,
    /// The row is left out and counted.
    Drop,
}

impl Args {
    /// How inputs are read.
    pub fn read_options(&self) -> ReadOptions {
        ReadOptions {
            format: self.format,
            delimiter: self.delimiter,
            encoding: self.encoding,
            lenient: self.bad_rows == OnFault::Drop,
        }
    }

    /// What has to be known of each row to choose its side.
    pub fn wanted_facts(&self) -> Wanted {
        let repeats = !self.mix.is_empty() && self.mix_until != Until::First && self.test_size.is_some();
        Wanted {
            // A row that a mix repeats is not on both sides.
            group: self.group_column.is_some() || repeats,
            stratum: self.stratify_column.is_some(),
            place: self.leak_report.is_some(),
            shingles: self.leak_report.is_some() || self.group_near.is_some(),
        }
    }

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
