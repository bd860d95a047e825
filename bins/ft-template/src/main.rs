//! `ft-template`: conversations in, tokens and labels out.

mod accepted;
mod args;
mod columns;
mod conversations;
mod counts;
mod documents;
mod ends;
mod example;
mod fit;
mod input;
mod json;
mod packer;
mod parts;
mod pipeline;
mod provenance;
mod recipe;
mod row;
mod shaped;
mod work;

use std::process::ExitCode;

fn main() -> ExitCode {
    ft_cli::run("ft-template", |args: &args::Args| &args.common, pipeline::run)
}
