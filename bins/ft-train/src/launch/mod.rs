//! From one start to ranks: threads of this process, or this process among others that something else started.

mod join;
mod threads;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use ft_cli::Usage;
use ft_dist::{Communicator, Solo};

use crate::config::Cli;
use crate::environment::{self, Placement};
use ft_trainer::args::Sharding;

/// What every rank does.
type Body = fn(&Cli, Arc<dyn Communicator>) -> Result<()>;

/// Runs `body` on every rank that this process has.
///
/// # Errors
/// The first cause, with its rank where there are several.
pub fn on_ranks(cli: &Cli, body: Body) -> Result<()> {
    let args = &cli.args.ranks;
    let placement = environment::placement()?;
    // What is wrong there is told here, and not while arguments are read.
    environment::threads()?;
    match placement {
        Some(placement) if args.nproc_per_node > 1 => bail!(Usage(format!(
            "--nproc-per-node {} starts ranks, but {} has started {} already; leave it out",
            args.nproc_per_node, placement.launcher, placement.world
        ))),
        Some(placement) => as_one_of(cli, &placement, body),
        None if args.nproc_per_node > 1 => threads::as_threads(cli, body),
        None => alone(cli, body),
    }
}

fn alone(cli: &Cli, body: Body) -> Result<()> {
    if cli.args.ranks.sharding != Sharding::None {
        tracing::info!("--sharding is without effect: there is one rank");
    }
    body(cli, Arc::new(Solo))
}

/// This process is one rank.
fn as_one_of(cli: &Cli, placement: &Placement, body: Body) -> Result<()> {
    if placement.rank > 0 {
        ft_cli::quiet_process();
    }
    let mut cli = on_device(cli, placement.local_rank);
    cli.args.ranks.sharing = placement.local_world as u32;
    let cli = &cli;
    let ranks = join::join(&cli.args, placement)
        .with_context(|| format!("rank {} of {} ({})", placement.rank, placement.world, placement.launcher))?;
    tracing::info!("{} ranks, started by {}, over {}", ranks.world(), placement.launcher, ranks.kind());
    tracing::debug!("{} threads; {} ranks on this machine", cli.args.common.thread_count(), placement.local_world);
    match heard(&*ranks, || body(cli, Arc::clone(&ranks))) {
        Ok(done) => done.map_err(|error| named(error, placement.rank)),
        Err(panic) => resume_unwind(panic),
    }
}

/// How a rank ended; a panic keeps its words.
type Ended = std::thread::Result<Result<()>>;

/// Runs a rank's work, and tells the others where it fails.
fn heard(ranks: &dyn Communicator, work: impl FnOnce() -> Result<()>) -> Ended {
    let ended = catch_unwind(AssertUnwindSafe(work));
    match &ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tell(ranks, error),
        Err(_) => ranks.abort("an internal fault"),
    }
    ended
}

/// The error with the rank that it is of, where it is a failure of its own.
fn named(error: anyhow::Error, rank: usize) -> anyhow::Error {
    let own = !is_secondary(&error) && !error.is::<ft_io::Interrupted>() && !error.is::<Usage>();
    if own { error.context(format!("rank {rank}")) } else { error }
}

/// What this rank was asked for, with its own device.
fn on_device(cli: &Cli, local_rank: usize) -> Cli {
    let mut cli = cli.clone();
    cli.args.device.device = join::device_of(cli.args.device.device, local_rank);
    cli
}

/// Tells the others that this rank has failed, unless it only heard of another's failure.
fn tell(ranks: &dyn Communicator, error: &anyhow::Error) {
    if !is_secondary(error) {
        ranks.abort(&format!("{error:#}"));
    }
}

/// Whether an error is what another rank said of its own.
fn is_secondary(error: &anyhow::Error) -> bool {
    let told = |error: &ft_dist::Error| matches!(error, ft_dist::Error::Rank { .. });
    error.chain().any(|cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref().is_some_and(told)
            || matches!(cause.downcast_ref(), Some(ft_model::Error::Ranks(cause)) if told(cause))
    })
}
