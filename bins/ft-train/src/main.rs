//! `ft-train`: fine-tune a language model with LoRA.

mod config;
mod environment;
mod launch;
mod plan;
mod verify;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use ft_dist::Communicator;
use ft_trainer::engine::agreement;
use ft_trainer::engine::setup::Setup;
use ft_trainer::output::folder;
use ft_trainer::output::run_record::Record;
use ft_trainer::run::trainer::Trainer;

use config::Cli;

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
    agreement::on_arguments(&cli.configuration(), &*ranks)?;
    let folder = folder::prepare(&cli.args, &*ranks)?;
    let output = folder.as_ref().map(|folder| folder.path.as_path());
    let setup = Setup::new(&cli.args, Arc::clone(&ranks))?;
    agreement::on_inputs(&setup)?;
    let first = ranks.rank() == 0;
    if first {
        folder::clear(&cli.args, output)?;
    }
    let record = Record::new(&cli.args, cli.configuration(), &setup, output.is_some() && first)?;
    let outcome = Trainer::new(&cli.args, setup, record, output.map(Into::into), cli.started)?.run()?;
    if first {
        folder::write(output, &outcome)?;
    }
    // Nobody leaves before all is written.
    Ok(ranks.barrier()?)
}
