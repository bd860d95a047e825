//! From one start to ranks: threads of this process, or this process among others that something else started.

mod environment;
mod join;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ft_cli::Usage;
use ft_dist::{Communicator, Solo, Threads};

use crate::args::{Backend, Sharding};
use crate::config::Cli;
use environment::Placement;

/// What every rank does.
type Body = fn(&Cli, Arc<dyn Communicator>) -> Result<()>;

/// Once one rank has failed the others have so long to see it and leave by themselves.
const GRACE: Duration = Duration::from_secs(8);

/// Runs `body` on every rank that this process has.
///
/// # Errors
/// The first cause, with its rank where there are several.
pub fn on_ranks(cli: &Cli, body: Body) -> Result<()> {
    let args = &cli.args.ranks;
    let placement = placement()?;
    match placement {
        Some(placement) if args.nproc_per_node > 1 => bail!(Usage(format!(
            "--nproc-per-node {} starts ranks, but {} has started {} already; leave it out",
            args.nproc_per_node, placement.launcher, placement.world
        ))),
        Some(placement) => as_one_of(cli, &placement, body),
        None if args.nproc_per_node > 1 => as_threads(cli, body),
        None => alone(cli, body),
    }
}

/// This process's place among several that something has started.
fn placement() -> Result<Option<Placement>> {
    let found = environment::placement(&|name| std::env::var(name).ok())?;
    Ok(found.filter(|placement| placement.world > 1))
}

/// How many ranks something has started, of which this process is one.
pub fn launched() -> Result<Option<usize>> {
    Ok(placement()?.map(|placement| placement.world))
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
    let cli = &on_device(cli, placement.local_rank);
    let ranks = join::join(&cli.args, placement)
        .with_context(|| format!("rank {} of {} ({})", placement.rank, placement.world, placement.launcher))?;
    tracing::info!("{} ranks, started by {}, over {}", ranks.world(), placement.launcher, ranks.kind());
    match catch_unwind(AssertUnwindSafe(|| body(cli, Arc::clone(&ranks)))) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            tell(&*ranks, &error);
            Err(named(error, placement.rank))
        }
        Err(panic) => {
            ranks.abort("an internal fault");
            resume_unwind(panic)
        }
    }
}

/// Ranks as threads, each with its share of the processor's threads.
fn as_threads(cli: &Cli, body: Body) -> Result<()> {
    let args = &cli.args.ranks;
    if matches!(args.ddp_backend, Backend::Gloo | Backend::Mpi) {
        bail!(Usage(format!("--nproc-per-node {} starts threads; give --ddp-backend threads", args.nproc_per_node)));
    }
    let world = args.nproc_per_node as usize;
    let each = (cli.args.common.thread_count() / world).max(1);
    tracing::info!("{world} ranks as threads of this process, {each} of the processor's threads each");
    let (sender, results) = channel();
    for ranks in Threads::new(world, args.timeout()) {
        let (cli, sender) = (on_device(cli, ranks.rank()), sender.clone());
        let rank = ranks.rank();
        let work = move || {
            let ended = catch_unwind(AssertUnwindSafe(|| {
                let asked = cli.args.ranks.ddp_backend == Backend::Nccl;
                let ranks = match cli.args.ranks.ddp_backend {
                    Backend::Threads => Arc::clone(&ranks),
                    _ => join::on_gpus(&cli.args, Arc::clone(&ranks), rank, asked)?,
                };
                in_pool(&cli, &ranks, each, body)
            }));
            match &ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tell(&*ranks, error),
                Err(_) => ranks.abort("an internal fault"),
            }
            // Nobody waits any more where the process is on its way out.
            let _ = sender.send((rank, ended));
        };
        std::thread::Builder::new().name(format!("rank {rank}")).spawn(work).context("cannot start a thread")?;
    }
    drop(sender);
    let mut first: Option<(usize, Ended)> = None;
    for _ in 0..world {
        let next = match &first {
            None => results.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(_) => results.recv_timeout(GRACE),
        };
        // Whoever is stuck ends with the process.
        let Ok((rank, ended)) = next else { break };
        if worth(&ended) > first.as_ref().map_or(0, |(_, ended)| worth(ended)) {
            first = Some((rank, ended));
        }
    }
    match first {
        None => Ok(()),
        Some((rank, Ok(ended))) => ended.map_err(|error| named(error, rank)),
        Some((_, Err(panic))) => resume_unwind(panic),
    }
}

/// How a rank ended; a panic keeps its words.
type Ended = std::thread::Result<Result<()>>;

/// How much an end says of the first cause: nothing, that another rank failed, or what failed.
fn worth(ended: &Ended) -> u8 {
    match ended {
        Ok(Ok(())) => 0,
        Ok(Err(error)) if is_secondary(error) => 1,
        _ => 2,
    }
}

fn in_pool(cli: &Cli, ranks: &Arc<dyn Communicator>, threads: usize, body: Body) -> Result<()> {
    let quiet = ranks.rank() > 0;
    let hush = move |_| {
        if quiet {
            ft_cli::quiet_thread();
        }
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).start_handler(hush).build();
    let pool = pool.context("cannot start a rank's threads")?;
    pool.install(|| body(cli, Arc::clone(ranks)))
}

/// The error with the rank that it is of, where it is a failure of its own.
fn named(error: anyhow::Error, rank: usize) -> anyhow::Error {
    let own = !is_secondary(&error) && !error.is::<ft_cli::Interrupted>() && !error.is::<Usage>();
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
