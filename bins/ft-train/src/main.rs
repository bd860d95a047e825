//! `ft-train`: fine-tune a language model with LoRA.

mod args;
mod config;
mod dry_run;
mod environment;
mod examine;
mod launch;
mod verify;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use ft_cli::Program;
use ft_dist::Communicator;
use ft_io::Target;
use ft_kernels::simd::Isa;
use ft_trainer::engine::setup::Setup;
use ft_trainer::output::folder::adapter_bytes;
use ft_trainer::recipe;

use config::Cli;

/// What `--version` tells.
const PROGRAM: Program = Program {
    name: "ft-train",
    features: &[
        #[cfg(feature = "cuda")]
        "cuda",
        #[cfg(feature = "mpi")]
        "mpi",
    ],
    instruction_set: Some(|| Isa::best().name()),
};

fn main() -> ExitCode {
    ft_cli::run(PROGRAM, |cli: &Cli| &cli.args.common, run)
}

fn run(mut cli: Cli) -> Result<()> {
    if cli.answer()? {
        return Ok(());
    }
    if cli.args.prove.verify.is_none() {
        cli.args.model = cli.args.common.model(&cli.args.model)?;
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
    let options = cli.args.options()?;
    dry_run::tell(&options, cli.args.common.log_format, Setup::new(&options, ranks, Arc::new(ft_cli::Bars))?)
}

/// What each rank does to train; the first one alone writes.
#[allow(clippy::needless_pass_by_value, reason = "a rank has its own")]
fn train(cli: &Cli, ranks: Arc<dyn Communicator>) -> Result<()> {
    let options = cli.args.options()?;
    let examiner = examine::examiner(&options)?;
    let (configuration, bars) = (cli.configuration(), Arc::new(ft_cli::Bars));
    let outcome = recipe::train(&options, &configuration, &ranks, bars, cli.started, examiner)?;
    if ranks.rank() == 0 && Target::parse(&options.output_dir) == Target::Stdout {
        let mut stdout = ft_io::output::stdout();
        let written = stdout.write_all(&adapter_bytes(&outcome)?).and_then(|()| stdout.flush());
        written.context("cannot write the adapter to stdout")?;
    }
    // Nobody leaves before all is written.
    Ok(ranks.barrier()?)
}
