//! The sockets between rank 0 and every other rank, from a rank's first word until all ranks are connected to each
//! other. Nobody waits for a rank that is gone: rank 0 watches all of them and tells the others, and they watch rank 0.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use serde::{Deserialize, Serialize};

use super::wire::{hear, left, moment, tell, wait};
use crate::error::{Error, Result};

/// How long one word may take to come or to leave, once a part of it is there.
const WORD: Duration = Duration::from_secs(1);

/// What ranks say on a line.
#[derive(Serialize, Deserialize)]
pub enum Word {
    /// From rank 0: it knows of this rank now, and waits for others.
    Heard,
    /// From rank 0: it does not take this rank, for that reason.
    Refused(String),
    /// From rank 0: all ranks have come, and listen there.
    Welcome { token: String, peers: Vec<SocketAddr> },
    /// The sender is connected to all; from rank 0: every rank is.
    Connected,
    /// A rank failed, and with it the meeting.
    Failed { rank: usize, reason: String },
    /// From rank 0: its words about ranks that did not come in time.
    Late(String),
}

/// What happened.
pub enum Event {
    /// Somebody is at the door.
    Knock,
    /// A rank says something that is no bad news.
    Said(usize, Word),
    /// The deadline is over.
    Late,
}

/// Rank 0's sockets to the others, or another rank's to rank 0.
pub struct Lines {
    streams: BTreeMap<usize, TcpStream>,
    called_off: fn() -> bool,
}

impl Lines {
    /// No line yet; every wait asks `called_off` whether to give up.
    pub fn new(called_off: fn() -> bool) -> Self {
        Self { streams: BTreeMap::new(), called_off }
    }

    pub fn add(&mut self, rank: usize, stream: TcpStream) {
        self.streams.insert(rank, stream);
    }

    pub fn has(&self, rank: usize) -> bool {
        self.streams.contains_key(&rank)
    }

    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Waits until somebody speaks or knocks. A line that breaks, and bad news, end the meeting: rank 0 tells everybody.
    pub fn next(&self, listener: Option<&TcpListener>, deadline: Instant) -> Result<Event> {
        loop {
            let mut fds: Vec<_> = self.streams.values().map(|stream| PollFd::new(stream, PollFlags::IN)).collect();
            fds.extend(listener.map(|listener| PollFd::new(listener, PollFlags::IN)));
            wait(&mut fds, Some(moment(deadline))).map_err(Error::io("cannot wait for the other ranks"))?;
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            if let Some(((rank, stream), _)) = self.streams.iter().zip(&ready).find(|(_, ready)| **ready) {
                return self.hear(*rank, stream);
            }
            if ready.contains(&true) {
                return Ok(Event::Knock);
            }
            if (self.called_off)() {
                return Err(Error::CalledOff);
            }
            if left(deadline).is_err() {
                return Ok(Event::Late);
            }
        }
    }

    fn hear(&self, rank: usize, stream: &TcpStream) -> Result<Event> {
        match hear(stream, Instant::now() + WORD) {
            Ok(Word::Failed { rank, reason }) => Err(self.failed(rank, reason)),
            Ok(Word::Late(words)) => Err(Error::Setup(words)),
            Ok(word) => Ok(Event::Said(rank, word)),
            Err(e) => Err(self.failed(rank, broken(&e))),
        }
    }

    /// A rank failed: tells the others on these lines, and returns the error.
    pub fn failed(&self, rank: usize, reason: String) -> Error {
        let word = Word::Failed { rank, reason: reason.clone() };
        self.tell_all(&word, |other| other != rank);
        Error::Rank { rank, reason }
    }

    /// Says something to the ranks for which `to` is true; who does not hear it is noticed when it is listened to.
    pub fn tell_all(&self, word: &Word, to: impl Fn(usize) -> bool) {
        for (_, stream) in self.streams.iter().filter(|(rank, _)| to(**rank)) {
            drop(tell(stream, word, Instant::now() + WORD));
        }
    }

    /// Says something to one rank.
    pub fn tell(&self, rank: usize, word: &Word) -> Result<()> {
        let Some(stream) = self.streams.get(&rank) else { return Ok(()) };
        tell(stream, word, Instant::now() + WORD).map_err(|e| self.failed(rank, broken(&e)))
    }

    /// This rank met a fault in reaching another. Where it is said within a second that a rank is gone, that is the
    /// cause; else this rank is, and the others learn of it.
    pub fn cause(&self, rank: usize, fault: Error) -> Error {
        if matches!(fault, Error::Rank { .. } | Error::CalledOff) {
            return fault;
        }
        let deadline = Instant::now() + WORD;
        loop {
            match self.next(None, deadline) {
                Err(cause) => return cause,
                Ok(Event::Late) => break,
                Ok(Event::Knock | Event::Said(..)) => {}
            }
        }
        self.tell_all(&Word::Failed { rank, reason: fault.to_string() }, |_| true);
        fault
    }
}

fn broken(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
            "its connection closed while the ranks met".into()
        }
        _ => format!("its connection broke while the ranks met: {error}"),
    }
}
