//! What two processes say to each other in a collective, over whatever carries bytes between them.
//!
//! Every rank tells every other one what it calls (a header), and then its part, if it has one for it. All of that
//! goes on at once and without waiting, so that nobody waits for somebody who waits for him.

use std::io::{self, ErrorKind};

use crate::call::Call;
use crate::collective::Collective;
use crate::error::{Error, Result};

/// Carries bytes between this rank and another one. Never waits: `WouldBlock` says that it would.
pub trait Pipe {
    /// Sends some of `head`, and of `body` after it; how much.
    fn write(&mut self, head: &[u8], body: &[u8]) -> io::Result<usize>;

    /// Receives some bytes; how many. `UnexpectedEof` where none will come any more.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize>;
}

/// One collective of this rank.
pub struct Exchange<'a> {
    rank: usize,
    world: usize,
    call: &'a Call,
    /// The how manieth on its channel.
    number: u64,
    head: Vec<u8>,
}

impl<'a> Exchange<'a> {
    pub fn new(rank: usize, world: usize, call: &'a Call, number: u64) -> Self {
        Self { rank, world, call, number, head: header(number, &call.encode()) }
    }

    /// One side of the exchange with each other rank; this rank's part for itself is done. `pipes` has a place for
    /// every rank, empty for this one.
    pub fn peers<'p, P: Pipe>(
        &'p self,
        pipes: &'p mut [Option<P>],
        send: &'p [u8],
        mut out: &'p mut [u8],
    ) -> Vec<Peer<'p, P>> {
        let mut peers = Vec::new();
        // A root has its bytes already, and no room for them in `out`.
        let rooted = matches!(self.call.collective, Collective::Broadcast | Collective::Duplicate);
        for (other, pipe) in pipes.iter_mut().enumerate() {
            let own = other == self.rank;
            let len = if own && rooted { 0 } else { self.call.part_received(other).len() };
            let (into, rest) = std::mem::take(&mut out).split_at_mut(len);
            out = rest;
            match pipe {
                Some(pipe) => {
                    let body = &send[self.call.part_sent(self.rank, other)];
                    peers.push(Peer::new(self, other, pipe, body, into));
                }
                None if len > 0 => into.copy_from_slice(&send[self.call.part_sent(self.rank, self.rank)]),
                None => {}
            }
        }
        peers
    }
}

/// The words of a call, with its number and their number before them.
fn header(number: u64, words: &[u64]) -> Vec<u8> {
    [number, words.len() as u64].iter().chain(words).flat_map(|word| word.to_le_bytes()).collect()
}

/// What goes to and comes from one other rank.
pub struct Peer<'a, P> {
    exchange: &'a Exchange<'a>,
    pub rank: usize,
    pub pipe: &'a mut P,
    body: &'a [u8],
    /// How much of `head` and `body` is sent.
    sent: usize,
    /// As much of the other's header as came.
    told: Vec<u8>,
    /// The other's header is whole, and its call fits.
    heard: bool,
    into: &'a mut [u8],
    /// How much of `into` came.
    filled: usize,
}

/// At most so much is moved at a time, so that nobody waits for one fast rank.
const TURN: usize = 1 << 20;

impl<'a, P: Pipe> Peer<'a, P> {
    fn new(exchange: &'a Exchange<'a>, rank: usize, pipe: &'a mut P, body: &'a [u8], into: &'a mut [u8]) -> Self {
        Self { exchange, rank, pipe, body, sent: 0, told: Vec::new(), heard: false, into, filled: 0 }
    }

    pub fn is_sent(&self) -> bool {
        self.sent == self.exchange.head.len() + self.body.len()
    }

    pub fn is_received(&self) -> bool {
        self.heard && self.filled == self.into.len()
    }

    pub fn is_done(&self) -> bool {
        self.is_sent() && self.is_received()
    }

    /// Sends and receives what can be without waiting. Whether anything moved.
    pub fn advance(&mut self) -> Result<bool, Fault> {
        let before = (self.sent, self.told.len(), self.filled);
        self.receive()?;
        self.send()?;
        Ok(before != (self.sent, self.told.len(), self.filled))
    }

    fn send(&mut self) -> io::Result<()> {
        let mut turn = 0;
        let head = &self.exchange.head;
        while !self.is_sent() && turn < TURN {
            let body = &self.body[self.sent.saturating_sub(head.len())..];
            let left = &head[self.sent.min(head.len())..];
            let Some(n) = unblocked(self.pipe.write(left, &body[..body.len().min(TURN)]))? else { break };
            self.sent += n;
            turn += n;
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<(), Fault> {
        while !self.heard {
            let missing = self.header_missing().ok_or_else(|| self.strange())?;
            if missing == 0 {
                self.understand()?;
                break;
            }
            let start = self.told.len();
            self.told.resize(start + missing, 0);
            let got = unblocked(self.pipe.read(&mut self.told[start..]))?;
            self.told.truncate(start + got.unwrap_or(0));
            if got.is_none() {
                return Ok(());
            }
        }
        let mut turn = 0;
        while !self.is_received() && turn < TURN {
            let end = self.into.len().min(self.filled + TURN);
            let Some(n) = unblocked(self.pipe.read(&mut self.into[self.filled..end]))? else { break };
            self.filled += n;
            turn += n;
        }
        Ok(())
    }

    /// How many bytes of the header are still to come; none where it is none.
    fn header_missing(&self) -> Option<usize> {
        let Some(head) = self.told.get(..16) else { return Some(16 - self.told.len()) };
        let words = words(head)[1] as usize;
        (words <= 3 + 2 * self.exchange.world).then(|| 16 + 8 * words - self.told.len())
    }

    /// Compares the other's call with this rank's.
    fn understand(&mut self) -> Result<(), Fault> {
        let Exchange { rank, call, number, .. } = *self.exchange;
        let words = words(&self.told);
        let other = Call::decode(&words[2..]).ok_or_else(|| self.strange())?;
        if words[0] != number {
            return Err(self.strange());
        }
        call.fits(rank, &other, self.rank, number).map_err(Fault::Call)?;
        self.heard = true;
        Ok(())
    }

    fn strange(&self) -> Fault {
        let reason = format!("what it sent at {} is no header of a call", self.exchange.call.collective);
        Fault::Call(Error::Rank { rank: self.rank, reason })
    }
}

/// Why an exchange with a rank cannot go on.
pub enum Fault {
    /// Nothing can be carried any more.
    Pipe,
    /// The other means something else.
    Call(Error),
}

impl From<io::Error> for Fault {
    fn from(_: io::Error) -> Self {
        Self::Pipe
    }
}

/// How much was moved; none where it would have to wait.
fn unblocked(moved: io::Result<usize>) -> io::Result<Option<usize>> {
    match moved {
        Ok(n) => Ok(Some(n)),
        Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(e) => Err(e),
    }
}

fn words(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks_exact(8).map(|word| word.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte))).collect()
}
