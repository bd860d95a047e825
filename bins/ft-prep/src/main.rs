//! `ft-prep`: rows of any common format and shape into examples.

mod args;
mod columns;
mod convert;
mod drops;
mod examples;
mod message;
mod plan;
mod prep;
mod recipe;
mod report;
mod split;

use std::process::ExitCode;

use args::Args;

fn main() -> ExitCode {
    ft_cli::run("ft-prep", |args: &Args| &args.common, |args| prep::run(&args))
}
