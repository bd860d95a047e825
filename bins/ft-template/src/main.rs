//! `ft-template`: conversations in, tokens and labels out.

mod args;
mod columns;
mod conversations;
mod counts;
mod example;
mod format;
mod json;
mod pipeline;
mod rows;

use std::process::ExitCode;

fn main() -> ExitCode {
    ft_cli::run("ft-template", |args: &args::Args| &args.common, pipeline::run)
}
