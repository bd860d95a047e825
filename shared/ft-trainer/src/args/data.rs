//! Which rows go together, and in which order.

use clap::ValueEnum;

/// The order and the grouping of the rows.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Rows")]
pub struct DataArgs {
    /// Seed of the rows' order [default: --seed]
    #[arg(long, value_name = "SEED")]
    pub data_seed: Option<u64>,
    /// Take the rows in the file's order in every epoch
    #[arg(long)]
    pub no_shuffle: bool,
    /// Put rows of about one length into one batch
    #[arg(long)]
    pub group_by_length: bool,
    /// The order of the rows: random, sequential (--no-shuffle) or group_by_length
    #[arg(long, value_name = "STRATEGY", value_enum)]
    pub train_sampling_strategy: Option<SamplingStrategy>,
    /// Fill each sequence of --max-seq-length tokens with whole rows, which never see each other
    #[arg(long)]
    pub packing: bool,
    /// How rows are packed: bfd, best-fit decreasing
    #[arg(long, value_name = "STRATEGY", default_value = "bfd", value_parser = packing_strategy)]
    pub packing_strategy: String,
    /// Longest row, in tokens, and the length that packing fills [default: what the model takes; packing: 1024]
    #[arg(long, alias = "max-length", value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_seq_length: Option<u32>,
    /// What happens to rows over --max-seq-length
    #[arg(long, value_name = "WHAT", value_enum, default_value = "error")]
    pub overlong: Overlong,
    /// Leave out an epoch's last sequences where they do not fill a micro-batch of each rank
    #[arg(long)]
    pub dataloader_drop_last: bool,
}

/// `--train-sampling-strategy`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum SamplingStrategy {
    /// Shuffled anew in every epoch
    Random,
    /// The file's order
    Sequential,
    /// Rows of about one length in one batch
    GroupByLength,
}

/// `--overlong`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Overlong {
    /// The run stops before it begins
    Error,
    /// They are left out, and counted
    Drop,
    /// Their ends are cut off, and counted
    Truncate,
}

impl DataArgs {
    /// Whether rows are grouped by their lengths.
    pub fn grouped(&self) -> bool {
        self.group_by_length || self.train_sampling_strategy == Some(SamplingStrategy::GroupByLength)
    }

    /// Whether the rows come in another order than the file's.
    pub fn shuffled(&self) -> bool {
        !self.no_shuffle && self.train_sampling_strategy != Some(SamplingStrategy::Sequential)
    }
}

fn packing_strategy(text: &str) -> Result<String, String> {
    match text {
        "bfd" => Ok(text.into()),
        "wrapped" | "bfd_split" => {
            Err("cuts rows in pieces, and a piece has lost what it answers; rows stay whole here: use bfd".into())
        }
        _ => Err("expected bfd".into()),
    }
}
