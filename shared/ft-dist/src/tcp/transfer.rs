//! One collective on one channel's sockets: everybody's header and parts, all at once.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};

use super::family::Family;
use super::wire::wait;
use crate::call::Call;
use crate::communicator::Collective;
use crate::error::{Error, Result};

/// The sockets of one channel, none to this rank itself.
pub struct Links {
    streams: Vec<Option<TcpStream>>,
    /// How many collectives this rank has called on this channel.
    calls: u64,
}

impl Links {
    pub fn new(streams: Vec<Option<TcpStream>>) -> Result<Self> {
        for stream in streams.iter().flatten() {
            stream.set_nonblocking(true).map_err(Error::io("cannot set up a socket"))?;
        }
        Ok(Self { streams, calls: 0 })
    }

    /// Tells every rank what this one calls, sends each its part of `send`, and receives theirs into `out`. A rank
    /// that moves no byte for the family's timeout is too late.
    pub fn exchange(&mut self, family: &Family, call: &Call, send: &[u8], out: &mut [u8]) -> Result<()> {
        family.failure()?;
        let number = self.calls;
        self.calls += 1;
        let head = header(number, &call.encode());
        let mut peers = self.peers(family.rank, call, &head, send, out);
        let mut moved = Instant::now();
        // The first round tries them all; then only those that can go on.
        for peer in &mut peers {
            peer.advance(family, call, number)?;
        }
        loop {
            peers.retain(|peer| !peer.is_done());
            if peers.is_empty() {
                break;
            }
            let deadline = moved + family.timeout;
            let mut fds = vec![PollFd::new(&family.alarm, PollFlags::IN)];
            fds.extend(peers.iter().map(|peer| PollFd::new(peer.stream, peer.wants())));
            wait(&mut fds, Some(deadline)).map_err(|e| family.fail(Error::io("cannot wait for other ranks")(e)))?;
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            if ready[0] {
                family.failure()?;
            }
            if Instant::now() >= deadline && !ready.contains(&true) {
                let ranks = peers.iter().map(|peer| peer.rank).collect();
                let late = Error::Timeout { ranks, collective: call.collective, waited: family.timeout };
                return Err(family.fail(late));
            }
            for (peer, _) in peers.iter_mut().zip(&ready[1..]).filter(|(_, ready)| **ready) {
                if peer.advance(family, call, number)? {
                    moved = Instant::now();
                }
            }
        }
        family.sent.add(call.collective, call.sent_by(family.rank, family.world));
        Ok(())
    }

    /// One side of the exchange with each other rank.
    fn peers<'a>(
        &'a self,
        rank: usize,
        call: &Call,
        head: &'a [u8],
        send: &'a [u8],
        mut out: &'a mut [u8],
    ) -> Vec<Peer<'a>> {
        let mut peers = Vec::new();
        for (other, stream) in self.streams.iter().enumerate() {
            let part = call.part_received(other);
            // A root has its bytes already, and no room for them here.
            let rooted = matches!(call.collective, Collective::Broadcast | Collective::Duplicate);
            let len = if other == rank && rooted { 0 } else { part.len() };
            let (into, rest) = std::mem::take(&mut out).split_at_mut(len);
            out = rest;
            match stream {
                Some(stream) => {
                    let body = &send[call.part_sent(rank, other)];
                    peers.push(Peer {
                        rank: other,
                        stream,
                        head,
                        body,
                        sent: 0,
                        told: Vec::new(),
                        heard: false,
                        into,
                        filled: 0,
                    });
                }
                None => into.copy_from_slice(&send[..][own(call, rank, len)]),
            }
        }
        peers
    }
}

/// Where this rank's part for itself lies in what it sends.
fn own(call: &Call, rank: usize, len: usize) -> std::ops::Range<usize> {
    if len == 0 { 0..0 } else { call.part_sent(rank, rank) }
}

/// The words of a call, with its number and their number before them.
fn header(number: u64, words: &[u64]) -> Vec<u8> {
    [number, words.len() as u64].iter().chain(words).flat_map(|word| word.to_le_bytes()).collect()
}

/// What goes to and comes from one other rank.
struct Peer<'a> {
    rank: usize,
    stream: &'a TcpStream,
    head: &'a [u8],
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

impl Peer<'_> {
    fn is_sent(&self) -> bool {
        self.sent == self.head.len() + self.body.len()
    }

    fn is_received(&self) -> bool {
        self.heard && self.filled == self.into.len()
    }

    fn is_done(&self) -> bool {
        self.is_sent() && self.is_received()
    }

    fn wants(&self) -> PollFlags {
        let mut wants = PollFlags::empty();
        wants.set(PollFlags::OUT, !self.is_sent());
        wants.set(PollFlags::IN, !self.is_received());
        wants
    }

    /// Sends and receives what can be without waiting. Whether anything moved.
    fn advance(&mut self, family: &Family, call: &Call, number: u64) -> Result<bool> {
        let before = (self.sent, self.told.len(), self.filled);
        let moved = self.receive(family.rank, family.world, call, number).and_then(|()| Ok(self.send()?));
        match moved {
            Ok(()) => Ok(before != (self.sent, self.told.len(), self.filled)),
            Err(Fault::Socket) => Err(family.lost(self.rank, call.collective)),
            Err(Fault::Call(error)) => Err(family.fail(error)),
        }
    }

    fn send(&mut self) -> io::Result<()> {
        let mut turn = 0;
        while !self.is_sent() && turn < TURN {
            let head = &self.head[self.sent.min(self.head.len())..];
            let body = &self.body[self.sent.saturating_sub(self.head.len())..];
            let mut stream = self.stream;
            match stream.write_vectored(&[IoSlice::new(head), IoSlice::new(&body[..body.len().min(TURN)])]) {
                Ok(n) => {
                    self.sent += n;
                    turn += n;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn receive(&mut self, rank: usize, world: usize, call: &Call, number: u64) -> Result<(), Fault> {
        while !self.heard {
            let missing = self.header_missing(world).ok_or_else(|| self.strange(call))?;
            if missing == 0 {
                self.understand(rank, call, number)?;
                break;
            }
            let start = self.told.len();
            self.told.resize(start + missing, 0);
            let got = read(self.stream, &mut self.told[start..])?;
            self.told.truncate(start + got.unwrap_or(0));
            if got.is_none() {
                return Ok(());
            }
        }
        let mut turn = 0;
        while !self.is_received() && turn < TURN {
            let end = self.into.len().min(self.filled + TURN);
            match read(self.stream, &mut self.into[self.filled..end])? {
                Some(n) => {
                    self.filled += n;
                    turn += n;
                }
                None => break,
            }
        }
        Ok(())
    }

    /// How many bytes of the header are still to come; none where it is none.
    fn header_missing(&self, world: usize) -> Option<usize> {
        let Some(head) = self.told.get(..16) else { return Some(16 - self.told.len()) };
        let words = words(head)[1] as usize;
        (words <= 3 + 2 * world).then(|| 16 + 8 * words - self.told.len())
    }

    /// Compares the other's call with this rank's.
    fn understand(&mut self, rank: usize, call: &Call, number: u64) -> Result<(), Fault> {
        let words = words(&self.told);
        let other = Call::decode(&words[2..]).ok_or_else(|| self.strange(call))?;
        if words[0] != number {
            return Err(self.strange(call));
        }
        call.fits(rank, &other, self.rank, number).map_err(Fault::Call)?;
        self.heard = true;
        Ok(())
    }

    fn strange(&self, call: &Call) -> Fault {
        let reason = format!("what it sent at {} is no header of a call", call.collective);
        Fault::Call(Error::Rank { rank: self.rank, reason })
    }
}

/// Why an exchange with a rank cannot go on.
enum Fault {
    Socket,
    Call(Error),
}

impl From<io::Error> for Fault {
    fn from(_: io::Error) -> Self {
        Self::Socket
    }
}

/// Reads what is there; none where nothing is there yet.
fn read(mut stream: &TcpStream, into: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match stream.read(into) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => return Ok(Some(n)),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn words(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks_exact(8).map(|word| word.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte))).collect()
}
