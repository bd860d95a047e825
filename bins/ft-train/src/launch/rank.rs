//! One rank's work, and what the others hear of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use anyhow::Result;
use ft_cli::Usage;
use ft_dist::Communicator;

use super::join;
use crate::config::Cli;

/// What every rank does.
pub type Body = fn(&Cli, Arc<dyn Communicator>) -> Result<()>;

/// How a rank ended; a panic keeps its words.
pub type Ended = std::thread::Result<Result<()>>;

/// Runs a rank's work, and tells the others where it fails.
pub fn heard(ranks: &dyn Communicator, work: impl FnOnce() -> Result<()>) -> Ended {
    let ended = catch_unwind(AssertUnwindSafe(work));
    match &ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tell(ranks, error),
        Err(_) => ranks.abort("an internal fault"),
    }
    ended
}

/// The error with the rank that it is of, where it is a failure of its own.
pub fn named(error: anyhow::Error, rank: usize) -> anyhow::Error {
    let own = !is_secondary(&error) && !error.is::<ft_io::Interrupted>() && !error.is::<Usage>();
    if own { error.context(format!("rank {rank}")) } else { error }
}

/// What this rank was asked for, with its own device.
pub fn on_device(cli: &Cli, local_rank: usize) -> Cli {
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
pub fn is_secondary(error: &anyhow::Error) -> bool {
    let told = |error: &ft_dist::Error| matches!(error, ft_dist::Error::Rank { .. });
    error.chain().any(|cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref().is_some_and(told)
            || matches!(cause.downcast_ref(), Some(ft_model::Error::Ranks(cause)) if told(cause))
    })
}
