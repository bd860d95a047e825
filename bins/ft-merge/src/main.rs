//! `ft-merge`: adapters into a model's weights, and GGUF files into Hugging Face folders.

mod adapters;
mod args;
mod folder;
mod merge;
mod plan;
mod report;
mod weights;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use ft_io::AtomicDir;
use ft_model::Checkpoint;

use adapters::Adapters;
use args::Args;
use plan::Plan;

fn main() -> ExitCode {
    ft_cli::run("ft-merge", |args: &Args| &args.common, |args| run(&args))
}

fn run(args: &Args) -> Result<()> {
    let started = Instant::now();
    let dtype = args.dtype()?;
    check_output(args)?;
    let base = Checkpoint::open(&args.model)?;
    let adapters = Adapters::load(&args.adapters, &args.model, &base)?;
    let plan = Plan::new(&base, &adapters, dtype, args.max_shard_size)?;
    let output = AtomicDir::create(&args.output)?;
    // Tokenizer and configuration first: what is wrong with them shows before the long part.
    folder::write(&base, &plan, output.path())?;
    let change = weights::write(&base, &adapters, &plan, output.path())?;
    folder::check(&base, &plan, output.path())?;
    output.commit(args.overwrite)?;
    report::tell(args, &plan, &adapters, &change, started.elapsed());
    Ok(())
}

/// Fails early where the end would fail late, and never writes over the base.
fn check_output(args: &Args) -> Result<()> {
    let same = || Some(std::fs::canonicalize(&args.output).ok()? == std::fs::canonicalize(&args.model).ok()?);
    if same() == Some(true) {
        bail!("'{}' is the base model itself; name another folder for the result", args.output.display());
    }
    if !args.overwrite {
        AtomicDir::require_free(&args.output)?;
    }
    Ok(())
}
