//! Ranks as threads of this process.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ft_cli::Usage;
use ft_dist::{Communicator, Threads};

use super::join;
use super::rank::{Body, Ended, heard, is_secondary, named, on_device};
use crate::args::Backend;
use crate::config::Cli;

/// Once one rank has failed the others have so long to see it and leave by themselves.
const GRACE: Duration = Duration::from_secs(8);

/// Runs `body` on `--nproc-per-node` ranks, each with its share of the processor's threads.
///
/// # Errors
/// The first cause, with its rank; or if the backend is none of threads, or a thread cannot be started.
pub fn as_threads(cli: &Cli, body: Body) -> Result<()> {
    let args = &cli.args.ranks;
    if matches!(args.ddp_backend, Backend::Gloo | Backend::Mpi) {
        bail!(Usage(format!("--nproc-per-node {} starts threads; give --ddp-backend threads", args.nproc_per_node)));
    }
    let world = args.nproc_per_node as usize;
    let each = (cli.args.common.thread_count() / world).max(1);
    tracing::info!("{world} ranks as threads of this process, {each} of the processor's threads each");
    let (sender, results) = channel();
    for ranks in Threads::new(world, args.timeout()) {
        let rank = ranks.rank();
        let (mut cli, sender) = (on_device(cli, rank), sender.clone());
        cli.args.ranks.sharing = args.nproc_per_node;
        let work = move || {
            let ended = heard(&*ranks, || in_pool(&cli, &carried(&cli, &ranks)?, each, body));
            // Nobody waits any more where the process is on its way out.
            let _ = sender.send((rank, ended));
        };
        std::thread::Builder::new().name(format!("rank {rank}")).spawn(work).context("cannot start a thread")?;
    }
    drop(sender);
    match first_cause(world, &results) {
        None => Ok(()),
        Some((rank, Ok(ended))) => ended.map_err(|error| named(error, rank)),
        Some((_, Err(panic))) => resume_unwind(panic),
    }
}

/// The same ranks over what `--ddp-backend` asks for.
fn carried(cli: &Cli, ranks: &Arc<dyn Communicator>) -> Result<Arc<dyn Communicator>> {
    let asked = cli.args.ranks.ddp_backend == Backend::Nccl;
    match cli.args.ranks.ddp_backend {
        Backend::Threads => Ok(Arc::clone(ranks)),
        _ => join::on_gpus(&cli.args, Arc::clone(ranks), ranks.rank(), asked),
    }
}

/// Does a rank's work on threads of its own.
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

/// Waits for the ranks, and returns the end that says most of the first cause, with its rank; none where all is well.
fn first_cause(world: usize, results: &Receiver<(usize, Ended)>) -> Option<(usize, Ended)> {
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
    first
}

/// How much an end says of the first cause: nothing, that another rank failed, or what failed.
fn worth(ended: &Ended) -> u8 {
    match ended {
        Ok(Ok(())) => 0,
        Ok(Err(error)) if is_secondary(error) => 1,
        _ => 2,
    }
}
