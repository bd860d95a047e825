//! What can go wrong between ranks.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::collective::Collective;

/// The result of what ranks do together.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong between ranks. It can be cloned, since one cause is told to many callers.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another rank failed (or this one, which said so by `abort`): it aborted, left, or its process is gone.
    #[error("rank {rank} failed: {reason}")]
    Rank {
        /// The rank that failed.
        rank: usize,
        /// What it said last, or what was seen of it.
        reason: String,
    },

    /// Ranks did not come to a collective in time.
    #[error("{} not come to {collective} within {:?}: see what they wait for, or allow more time", have(ranks), waited)]
    Timeout {
        /// The ranks waited for.
        ranks: Vec<usize>,
        /// What they were waited for at.
        collective: Collective,
        /// How long they were waited for.
        waited: Duration,
    },

    /// Two ranks do not mean the same: other collectives, other sizes, or other settings.
    #[error(
        "the ranks disagree on {what}: rank {} has {}, rank {} has {}; start every rank with the same arguments and data",
        first.0, first.1, other.0, other.1
    )]
    Disagree {
        /// What they disagree on.
        what: String,
        /// A rank and its value; rank 0's where rank 0 is one of the two.
        first: (usize, String),
        /// The first rank that has another value, and that value.
        other: (usize, String),
    },

    /// A caller's buffers do not fit each other: a fault in the calling program.
    #[error("{collective} on rank {rank}: {what} should be {expected}, but is {found}")]
    Sizes {
        /// Who was called.
        collective: &'static str,
        /// On which rank.
        rank: usize,
        /// Which length or list.
        what: &'static str,
        /// What it should have been.
        expected: String,
        /// What it was.
        found: String,
    },

    /// The ranks could not be joined.
    #[error("{0}")]
    Setup(String),

    /// Whoever started this rank called it off while the ranks met.
    #[error("interrupted while the ranks met")]
    CalledOff,

    /// This rank's GPU failed, or NCCL on it.
    #[error("{0}")]
    Device(String),

    /// The background thread ended before it came to this job.
    #[error("the background thread of this rank ended before its work was done")]
    Stopped,

    /// The operating system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
}

impl Error {
    /// An [`Error::Io`] that says what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Io { what: what.into(), source: Arc::new(source) }
    }

    /// What other ranks should be told that this error on `rank` is: an error that already names its cause is
    /// passed on as it is.
    pub(crate) fn for_others(&self, rank: usize) -> Self {
        match self {
            Self::Rank { .. } | Self::Timeout { .. } | Self::Disagree { .. } => self.clone(),
            other => Self::Rank { rank, reason: other.to_string() },
        }
    }
}

/// "rank 3 has" or "ranks 1, 3 have".
fn have(ranks: &[usize]) -> String {
    match ranks {
        [one] => format!("rank {one} has"),
        many => format!("ranks {} have", many.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}
