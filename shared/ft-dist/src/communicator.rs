//! How ranks speak to each other.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::collective::Collective;
use crate::error::Result;

/// One rank's door to the others.
///
/// [`all_gather`](Self::all_gather), [`all_to_all`](Self::all_to_all), [`broadcast`](Self::broadcast),
/// [`barrier`](Self::barrier) and [`duplicate`](Self::duplicate) are collectives: every rank calls the same ones in
/// the same order, with sizes that fit. Ranks that do not are told so by [`Error::Disagree`](crate::Error::Disagree).
/// After an error every further call on this communicator and its duplicates reports an error too. Calls from
/// several threads of one rank are taken one after the other.
pub trait Communicator: Send + Sync + Debug {
    /// This rank's number, from 0.
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn world(&self) -> usize;

    /// What carries the bytes: `solo`, `threads`, `tcp`, `mpi` or `nccl`.
    fn kind(&self) -> &'static str;

    /// Every rank's bytes laid end to end in the ranks' order. Part `r` has `counts[r]` bytes, which may be 0;
    /// `mine` has `counts[rank]`, `out` their sum.
    ///
    /// # Errors
    /// If sizes do not fit, a rank fails, is too late or calls something else.
    fn all_gather(&self, mine: &[u8], counts: &[usize], out: &mut [u8]) -> Result<()>;

    /// `send` is cut by `send_counts`, and part `r` goes to rank `r`; `out` is cut by `recv_counts`, and part `r`
    /// came from rank `r`. All in bytes; any may be 0.
    ///
    /// # Errors
    /// If sizes do not fit, a rank fails, is too late or calls something else.
    fn all_to_all(&self, send: &[u8], send_counts: &[usize], recv_counts: &[usize], out: &mut [u8]) -> Result<()>;

    /// The root's bytes, on every rank.
    ///
    /// # Errors
    /// If sizes or roots differ, a rank fails, is too late or calls something else.
    fn broadcast(&self, root: usize, bytes: &mut [u8]) -> Result<()>;

    /// Returns when every rank has come here.
    ///
    /// # Errors
    /// If a rank fails, is too late or calls something else.
    fn barrier(&self) -> Result<()>;

    /// This rank has failed: every rank's pending or next call, on this communicator and on its duplicates, returns
    /// [`Error::Rank`](crate::Error::Rank) with this rank and `reason`. The first cause wins.
    fn abort(&self, reason: &str);

    /// Another channel over the same ranks: calls on it never wait for calls on this one. It shares this one's fate
    /// and counters. All ranks call it together.
    ///
    /// # Errors
    /// If a rank fails, is too late or calls something else.
    fn duplicate(&self) -> Result<Arc<dyn Communicator>>;

    /// Whether all is well, as far as is known here: between collectives, it asks nobody and never waits.
    ///
    /// # Errors
    /// The first cause, if a rank has failed.
    fn check(&self) -> Result<()>;

    /// Bytes that this rank sent to others so far, over this channel and all its duplicates.
    fn traffic(&self) -> Traffic;
}

/// The most ranks that can meet: as many addresses as one message holds.
pub const MAX_RANKS: usize = 10_000;

/// Bytes of payload that one rank sent to others: what it hands over times the ranks that get it, whatever road the
/// bytes take. Headers are not counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// By [`Communicator::all_gather`].
    pub all_gather: u64,
    /// By [`Communicator::all_to_all`].
    pub all_to_all: u64,
    /// By [`Communicator::broadcast`].
    pub broadcast: u64,
}

impl Traffic {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.all_gather + self.all_to_all + self.broadcast
    }
}

/// A timeout whose end can be told: "for ever" is a year.
pub(crate) fn bounded(timeout: Duration) -> Duration {
    timeout.min(Duration::from_secs(365 * 24 * 3600))
}

/// The counters behind [`Traffic`], shared by a communicator and its duplicates.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    all_gather: AtomicU64,
    all_to_all: AtomicU64,
    broadcast: AtomicU64,
}

impl Sent {
    /// Counts what one finished collective sent.
    pub fn add(&self, collective: Collective, bytes: usize) {
        let counter = match collective {
            Collective::AllGather => &self.all_gather,
            Collective::AllToAll => &self.all_to_all,
            Collective::Broadcast => &self.broadcast,
            Collective::Barrier | Collective::Duplicate => return,
        };
        counter.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub fn read(&self) -> Traffic {
        Traffic {
            all_gather: self.all_gather.load(Ordering::Relaxed),
            all_to_all: self.all_to_all.load(Ordering::Relaxed),
            broadcast: self.broadcast.load(Ordering::Relaxed),
        }
    }
}
