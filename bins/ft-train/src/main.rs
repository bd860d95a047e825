//! `ft-train`: fine-tune a language model with LoRA.

mod args;
mod best;
mod checkpoint;
mod config;
mod data;
mod digest;
mod engine;
mod evaluate;
mod fault;
mod flow;
mod forecast;
mod history;
mod identity;
mod lock;
mod output;
mod plan;
mod record;
mod sampler;
mod schedule;
mod setup;
mod trainer;
mod verify;
mod watch;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use config::Cli;
use record::Record;
use setup::Setup;
use trainer::Trainer;

fn main() -> ExitCode {
    ft_cli::run("ft-train", |cli: &Cli| &cli.args.common, run)
}

#[allow(clippy::needless_pass_by_value)]
fn run(cli: Cli) -> Result<()> {
    let started = Instant::now();
    if cli.answer()? {
        return Ok(());
    }
    cli.notes.iter().for_each(|note| tracing::info!("{note}"));
    ft_kernels::memory::keep_freed_pages();
    if cli.args.log.disable_tqdm {
        ft_cli::hide_progress();
    }
    match &cli.args.prove.verify {
        Some(dir) => verify::verify(&cli, dir, started),
        None if cli.args.prove.dry_run => plan::tell(&cli.args, Setup::new(&cli.args)?),
        None => train(&cli, started),
    }
}

fn train(cli: &Cli, started: Instant) -> Result<()> {
    let folder = output::prepare(&cli.args)?;
    let output = folder.as_ref().map(|folder| folder.path.as_path());
    let setup = Setup::new(&cli.args)?;
    output::clear(&cli.args, output)?;
    let record = Record::new(cli, &setup, output.is_some())?;
    let trainer = Trainer::new(&cli.args, setup, record, output.map(Into::into), started)?;
    output::write(output, &trainer.run()?)
}
