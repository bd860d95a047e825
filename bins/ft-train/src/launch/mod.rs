//! From one start to ranks: threads of this process, or this process among others that something else started.

mod join;
mod rank;
mod threads;

use std::panic::resume_unwind;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use ft_cli::Usage;
use ft_dist::Solo;

use crate::config::Cli;
use crate::environment::{self, Placement};
use ft_trainer::options::Sharding;
use rank::{Body, heard, named, on_device};

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
