//! The arguments of `--prove`.

use std::path::PathBuf;

/// `--prove` and what goes with it.
#[derive(Debug, Clone, clap::Args)]
pub struct ProveArgs {
    /// Measure the result on these tokens (of ft-template) beside base and adapter: loss and greedy answers; exit code 1 where
    /// the losses are further apart than the written type allows. The figures go into prove.json beside the result
    #[arg(long, value_name = "ROWS.parquet")]
    pub prove: Option<PathBuf>,

    /// --prove: the most that the losses may be apart, relative [default: by type, 0.0001 for f32 to 0.15 for q4_0]
    #[arg(long, value_name = "SHARE", requires = "prove")]
    pub prove_bound: Option<f64>,

    /// --prove: the first N rows alone
    #[arg(long, value_name = "N", requires = "prove", value_parser = clap::value_parser!(u32).range(1..))]
    pub prove_limit: Option<u32>,
}
