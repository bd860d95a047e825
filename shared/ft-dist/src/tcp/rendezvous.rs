//! Where and how processes meet.

use std::fmt::{Debug, Formatter};
use std::time::Duration;

/// Where processes meet that do not know each other yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rendezvous {
    /// Rank 0 listens at this address (`MASTER_ADDR`, `MASTER_PORT`), and the others connect to it.
    Master {
        /// A name or an address of rank 0's machine.
        host: String,
        /// A port that is free there.
        port: u16,
    },
    /// The agent of torchrun keeps a TCPStore at this address already (`TORCHELASTIC_USE_AGENT_STORE=True`), and
    /// rank 0 writes there where it listens.
    TcpStore {
        /// A name or an address of the store's machine.
        host: String,
        /// The store's port.
        port: u16,
    },
}

/// How processes meet.
#[derive(Clone, Copy)]
pub struct JoinOptions<'a> {
    /// Names the run, and its restart where a launcher restarts ranks: ranks of another one are refused.
    pub label: &'a str,
    /// How long ranks wait for those that have not been heard of.
    pub rendezvous_timeout: Duration,
    /// How long a rank waits in a collective while no byte moves.
    pub timeout: Duration,
    /// Called on rank 0 for each rank that has come: its number, and how many are there, rank 0 among them.
    pub arrived: &'a dyn Fn(usize, usize),
    /// Asked again and again while ranks meet: whether to give up.
    pub called_off: fn() -> bool,
}

impl<'a> JoinOptions<'a> {
    /// One time for both waits, nobody to tell who has come, and no way to call it off.
    pub fn new(label: &'a str, timeout: Duration) -> Self {
        Self { label, rendezvous_timeout: timeout, timeout, arrived: &|_, _| (), called_off: || false }
    }
}

impl Debug for JoinOptions<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Self { label, rendezvous_timeout, timeout, .. } = self;
        write!(f, "JoinOptions {{ label: {label:?}, {rendezvous_timeout:?}, {timeout:?} }}")
    }
}
