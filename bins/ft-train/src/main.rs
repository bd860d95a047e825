//! `ft-train`: fine-tune a language model with LoRA.

mod args;
mod checkpoint;
mod data;
mod evaluate;
mod history;
mod output;
mod sampler;
mod schedule;
mod setup;
mod trainer;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use args::Args;
use setup::Setup;
use trainer::Trainer;

fn main() -> ExitCode {
    ft_cli::run("ft-train", |args: &Args| &args.common, train)
}

#[allow(clippy::needless_pass_by_value)]
fn train(args: Args) -> Result<()> {
    let started = Instant::now();
    ft_kernels::memory::keep_freed_pages();
    let output = output::prepare(&args)?;
    let setup = Setup::new(&args)?;
    output::clear(&args, output.as_deref())?;
    let outcome = Trainer::new(&args, setup, output.clone(), started)?.run()?;
    output::write(&args, output.as_deref(), &outcome)
}
