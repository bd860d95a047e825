//! Where a rank lets the others in: each channel has one socket between any two ranks.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::address::accept;
use super::meet::{INTRODUCTION, VERSION};
use super::wire::{hear, left, tell};
use crate::error::{Error, Result};

/// A rank's listener, and who has come through it.
pub struct Door {
    rank: usize,
    token: String,
    peers: Vec<SocketAddr>,
    pub listener: TcpListener,
    guests: Mutex<Guests>,
    pub changed: Condvar,
}

#[derive(Default)]
struct Guests {
    /// Connections that nobody has taken yet, by channel and rank.
    waiting: BTreeMap<(u64, usize), TcpStream>,
    seen: BTreeSet<(u64, usize)>,
}

/// The first words on a socket between two ranks.
#[derive(Serialize, Deserialize)]
struct Introduction {
    version: u32,
    token: String,
    rank: usize,
    channel: u64,
}

/// The answer to it: why not, if not.
type Reply = Option<String>;

impl Door {
    pub fn new(rank: usize, token: String, peers: Vec<SocketAddr>, listener: TcpListener) -> Self {
        Self { rank, token, peers, listener, guests: Mutex::default(), changed: Condvar::new() }
    }

    /// Connects to the ranks below this one, and lets in those above it, for one channel. `wait` is called with a
    /// deadline while some are missing, and returns after one more may have come.
    pub fn channel(
        &self,
        channel: u64,
        timeout: Duration,
        mut wait: impl FnMut(Instant) -> Result<()>,
    ) -> Result<Vec<Option<TcpStream>>> {
        let deadline = Instant::now() + timeout;
        let mut streams: Vec<Option<TcpStream>> = Vec::new();
        for rank in 0..self.rank {
            streams.push(Some(self.visit(rank, channel, deadline, timeout)?));
        }
        streams.push(None);
        for rank in self.rank + 1..self.peers.len() {
            loop {
                if let Some(stream) = self.lock().waiting.remove(&(channel, rank)) {
                    streams.push(Some(stream));
                    break;
                }
                if left(deadline).is_err() {
                    let text =
                        format!("rank {rank} met rank 0, but did not connect to rank {} in {timeout:?}", self.rank);
                    return Err(Error::Setup(text));
                }
                wait(deadline)?;
            }
        }
        Ok(streams)
    }

    /// Waits a moment for somebody else to let a guest in.
    pub fn wait_for_guest(&self, deadline: Instant) {
        let moment = left(deadline).unwrap_or_default().min(Duration::from_millis(20));
        drop(self.changed.wait_timeout(self.lock(), moment));
    }

    /// Lets one guest in, or sends him away with a word.
    pub fn admit(&self, deadline: Instant) -> Result<()> {
        let stream = match accept(&self.listener, deadline) {
            Ok(stream) => stream,
            Err(e) if e.kind() == ErrorKind::TimedOut => return Ok(()),
            Err(e) => return Err(Error::io("cannot accept a connection of another rank")(e)),
        };
        let moment = Instant::now() + INTRODUCTION;
        // Whoever says nothing, or nothing that a rank says, is let go.
        let Ok(guest) = hear::<Introduction>(&stream, moment) else { return Ok(()) };
        let mut guests = self.lock();
        let reply = self.refuses(&guest, &guests);
        let welcome = reply.is_none();
        if tell(&stream, &reply, moment).is_ok() && welcome {
            guests.seen.insert((guest.channel, guest.rank));
            guests.waiting.insert((guest.channel, guest.rank), stream);
            self.changed.notify_all();
        }
        Ok(())
    }

    fn refuses(&self, guest: &Introduction, guests: &Guests) -> Reply {
        if guest.version != VERSION || guest.token != self.token {
            Some("this is the rank of another run".to_string())
        } else if guest.rank >= self.peers.len() || guest.rank <= self.rank {
            Some(format!("rank {} does not connect to rank {}", guest.rank, self.rank))
        } else if guests.seen.contains(&(guest.channel, guest.rank)) {
            Some(format!("rank {} is here already", guest.rank))
        } else {
            None
        }
    }

    /// Connects to a lower rank.
    fn visit(&self, rank: usize, channel: u64, deadline: Instant, timeout: Duration) -> Result<TcpStream> {
        let address = self.peers[rank];
        let fault = |e: io::Error| {
            let here = self.rank;
            Error::Setup(format!("rank {here} did not reach rank {rank} at {address} within {timeout:?}: {e}"))
        };
        let stream = loop {
            let left = left(deadline).map_err(fault)?;
            match TcpStream::connect_timeout(&address, left) {
                Ok(stream) => break stream,
                Err(e) if e.kind() == ErrorKind::TimedOut => return Err(fault(e)),
                // A full queue of connections may refuse one for a moment; a rank that is gone does so forever.
                Err(e) if left < timeout.saturating_sub(Duration::from_secs(2)) => return Err(fault(e)),
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        };
        stream.set_nodelay(true).map_err(fault)?;
        let (token, here) = (self.token.clone(), self.rank);
        tell(&stream, &Introduction { version: VERSION, token, rank: here, channel }, deadline).map_err(fault)?;
        match hear::<Reply>(&stream, deadline).map_err(fault)? {
            None => Ok(stream),
            Some(reason) => Err(Error::Setup(format!("rank {rank} at {address} refused rank {here}: {reason}"))),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Guests> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
