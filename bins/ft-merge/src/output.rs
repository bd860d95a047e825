//! What may be written where.

use std::path::Path;

use anyhow::Result;
use ft_io::output::require_replaceable;
use ft_io::{AtomicDir, Distinct, Error, Source};

use crate::args::Args;
use crate::given::Given;

/// A folder that is written may neither be nor hold what is read.
pub fn check_folder(args: &Args) -> Result<()> {
    let mut files = Distinct::new();
    files.input("--model", &Source::Path(args.model.clone()));
    args.adapters.iter().for_each(|adapter| files.input("--adapter", &Given::parse(adapter).source));
    Ok(files.output_folder("--output", &args.output)?)
}

/// Fails early where a folder that will hold `names` may not be written; whether those of an older result go, which
/// `is_result` tells by the folder.
pub fn check_names(args: &Args, names: &[&str], is_result: impl Fn(&Path) -> bool) -> Result<bool> {
    check_folder(args)?;
    if !args.overwrite {
        AtomicDir::require_free(&args.output)?;
        return Ok(false);
    }
    require_replaceable(&args.output, ft_cli::home().as_deref())?;
    let replaces = is_result(&args.output);
    match names.iter().map(|name| args.output.join(name)).find(|path| !replaces && path.symlink_metadata().is_ok()) {
        Some(foreign) => Err(Error::Foreign(foreign).into()),
        None => Ok(replaces),
    }
}
