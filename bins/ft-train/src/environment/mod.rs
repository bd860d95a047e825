//! What something that has started this process as one of several tells it in the environment.

mod placement;
mod share;
mod variables;

use std::num::NonZeroUsize;

use anyhow::Result;

pub use placement::{Launcher, Placement};

/// This process's place among several that something has started.
///
/// # Errors
/// If the environment says what cannot be.
pub fn placement() -> Result<Option<Placement>> {
    let found = placement::read(&variables::of_process)?;
    Ok(found.filter(|placement| placement.world > 1))
}

/// How many ranks something has started, of which this process is one.
///
/// # Errors
/// As [`placement`].
pub fn launched() -> Result<Option<usize>> {
    Ok(placement()?.map(|placement| placement.world))
}

/// How many threads this process has where `--threads` does not say it; none where nothing but its user has started it.
///
/// # Errors
/// As [`placement`].
pub fn threads() -> Result<Option<NonZeroUsize>> {
    placement()?.map(|placement| share::threads(&placement, &variables::of_process)).transpose()
}
