//! `ft-prep`: rows of any common format and shape into examples.

mod args;
mod choose;
mod columns;
mod convert;
mod copies;
mod counts;
mod dedup;
mod examples;
mod facts;
mod groups;
mod help;
mod input;
mod leak;
mod mix;
mod near;
mod notes;
mod pairs;
mod plan;
mod prep;
mod random;
mod rejects;
mod report;
mod shares;
mod shuffle;
mod sink;
mod sources;
mod split;
mod values;

use std::process::ExitCode;

use args::Args;

fn main() -> ExitCode {
    ft_cli::run("ft-prep", |args: &Args| &args.common, |args| prep::run(&args))
}
