//! Where results go.

use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Write all figures as JSON
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
    /// Draw the figures
    #[arg(long, value_name = "FILE|-")]
    pub svg: Option<PathBuf>,
}
