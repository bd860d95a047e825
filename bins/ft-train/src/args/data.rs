//! Which rows go together, and in which order.

use clap::ValueEnum;
use ft_cli::named_value;
use ft_trainer::options::{Overlong, RowOptions};

/// The order and the grouping of the rows.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Rows")]
pub struct DataArgs {
    /// Random seed of the order of the rows [default: --seed]
    #[arg(long, value_name = "SEED")]
    pub data_seed: Option<u64>,
    /// Keep the file's order of rows in every epoch
    #[arg(long)]
    pub no_shuffle: bool,
    /// Batch rows of similar length together
    #[arg(long)]
    pub group_by_length: bool,
    /// Order of the rows: random, sequential (--no-shuffle) or group_by_length
    #[arg(long, value_name = "STRATEGY", value_enum)]
    pub train_sampling_strategy: Option<SamplingStrategy>,
    /// Packing: fill each sequence of --max-seq-length tokens with whole rows; attention never crosses rows
    #[arg(long)]
    pub packing: bool,
    /// Packing strategy: bfd (best-fit decreasing)
    #[arg(long, value_name = "STRATEGY", default_value = "bfd", value_parser = packing_strategy)]
    pub packing_strategy: String,
    /// Maximum length of a row in tokens, and of a packed sequence [default: the model's context; packing: 1024]
    #[arg(long, alias = "max-length", value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_seq_length: Option<u32>,
    /// What to do with rows longer than --max-seq-length
    #[arg(long, value_name = "WHAT", default_value = "error", value_parser = named_value::<Overlong>())]
    pub overlong: Overlong,
    /// Drop an epoch's last sequences where they do not fill a micro-batch of each rank
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

impl DataArgs {
    /// What they mean.
    pub fn options(&self) -> RowOptions {
        RowOptions {
            data_seed: self.data_seed,
            shuffle: self.shuffled(),
            group_by_length: self.grouped(),
            packing: self.packing,
            max_seq_length: self.max_seq_length,
            overlong: self.overlong,
            dataloader_drop_last: self.dataloader_drop_last,
        }
    }

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
