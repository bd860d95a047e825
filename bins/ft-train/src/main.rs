//! `ft-train`: fine-tune a language model with LoRA.

mod agree;
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
mod footprint;
mod forecast;
mod history;
mod identity;
mod launch;
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
use std::sync::Arc;

use anyhow::Result;
use ft_dist::Communicator;

use config::Cli;
use record::Record;
use setup::Setup;
use trainer::Trainer;

fn main() -> ExitCode {
    ft_cli::run("ft-train", |cli: &Cli| &cli.args.common, run)
}

#[allow(clippy::needless_pass_by_value)]
fn run(cli: Cli) -> Result<()> {
    if cli.answer()? {
        return Ok(());
    }
    cli.notes.iter().for_each(|note| tracing::info!("{note}"));
    ft_kernels::memory::keep_freed_pages();
    if cli.args.log.disable_tqdm {
        ft_cli::hide_progress();
    }
    match &cli.args.prove.verify {
        Some(dir) => verify::verify(&cli, dir),
        None if cli.args.prove.dry_run => launch::on_ranks(&cli, plan),
        None => launch::on_ranks(&cli, train),
    }
}

/// What each rank does for a plan.
fn plan(cli: &Cli, ranks: Arc<dyn Communicator>) -> Result<()> {
    plan::tell(&cli.args, Setup::new(&cli.args, ranks)?)
}

/// What each rank does to train; the first one alone writes.
#[allow(clippy::needless_pass_by_value, reason = "a rank has its own")]
fn train(cli: &Cli, ranks: Arc<dyn Communicator>) -> Result<()> {
    agree::on_arguments(cli, &*ranks)?;
    let folder = output::prepare(&cli.args, &*ranks)?;
    let output = folder.as_ref().map(|folder| folder.path.as_path());
    let setup = Setup::new(&cli.args, Arc::clone(&ranks))?;
    agree::on_inputs(&setup)?;
    let first = ranks.rank() == 0;
    if first {
        output::clear(&cli.args, output)?;
    }
    let record = Record::new(cli, &setup, output.is_some() && first)?;
    let outcome = Trainer::new(&cli.args, setup, record, output.map(Into::into), cli.started)?.run()?;
    if first {
        output::write(output, &outcome)?;
    }
    // Nobody leaves before all is written.
    Ok(ranks.barrier()?)
}
