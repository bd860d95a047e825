//! What may be written where.

use anyhow::Result;
use ft_io::{Distinct, Source};

use crate::args::Args;
use crate::given::Given;

/// A folder that is written may neither be nor hold what is read.
pub fn check_folder(args: &Args) -> Result<()> {
    let mut files = Distinct::new();
    files.input("--model", &Source::Path(args.model.clone()));
    args.adapters.iter().for_each(|adapter| files.input("--adapter", &Given::parse(adapter).source));
    Ok(files.output_folder("--output", &args.output)?)
}
