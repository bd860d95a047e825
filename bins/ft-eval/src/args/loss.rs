//! Arguments of `ft-eval loss`.

use std::ffi::OsString;

use super::model::ModelArgs;

#[derive(Debug, clap::Args)]
pub struct LossArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Tokens: a Parquet file, or '-' for standard input
    #[arg(value_name = "FILE|-")]
    pub input: Option<OsString>,
    /// Also write the loss of every row, to -o
    #[arg(long)]
    pub per_example: bool,
    /// Parquet file of --per-example, with the columns row, loss, labels, correct and row_id;
    /// an interrupted run leaves the rows that are done
    #[arg(short, long, value_name = "FILE", requires = "per_example")]
    pub output: Option<OsString>,
    /// Evaluate only the first N rows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
}
