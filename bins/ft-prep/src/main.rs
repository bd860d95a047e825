//! `ft-prep`: rows of any common format and shape into examples.

mod args;
mod columns;
mod convert;
mod counts;
mod dedup;
mod examples;
mod notes;
mod pairs;
mod plan;
mod prep;
mod report;
mod split;

use std::process::ExitCode;

use args::Args;

fn main() -> ExitCode {
    ft_cli::run("ft-prep", |args: &Args| &args.common, |args| prep::run(&args))
}
