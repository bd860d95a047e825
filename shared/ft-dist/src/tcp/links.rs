//! The sockets of one channel.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};

use super::family::Family;
use super::wire::wait;
use crate::call::Call;
use crate::error::{Error, Result};
use crate::transfer::{Exchange, Fault, Peer, Pipe};

/// One socket to every other rank.
pub struct Links {
    sockets: Vec<Option<Socket>>,
    /// How many collectives this rank has called on this channel.
    calls: u64,
}

impl Links {
    pub fn new(streams: Vec<Option<TcpStream>>) -> Result<Self> {
        for stream in streams.iter().flatten() {
            stream.set_nonblocking(true).map_err(Error::io("cannot set up a socket"))?;
        }
        Ok(Self { sockets: streams.into_iter().map(|stream| stream.map(Socket)).collect(), calls: 0 })
    }

    /// Tells every rank what this one calls, sends each its part of `send`, and receives theirs into `out`. Ranks
    /// are too late when no byte has moved for the family's timeout.
    pub fn exchange(&mut self, family: &Family, call: &Call, send: &[u8], out: &mut [u8]) -> Result<()> {
        family.failure()?;
        let exchange = Exchange::new(family.rank, family.world, call, self.calls);
        self.calls += 1;
        let mut peers = exchange.peers(&mut self.sockets, send, out);
        let advance = |peer: &mut Peer<'_, Socket>| match peer.advance() {
            Ok(moved) => Ok(moved),
            Err(Fault::Pipe) => Err(family.lost(peer.rank, call.collective)),
            Err(Fault::Call(error)) => Err(family.fail(error)),
        };
        // The first round tries them all; then only those that can go on.
        for peer in &mut peers {
            advance(peer)?;
        }
        let mut deadline = Instant::now() + family.timeout;
        loop {
            peers.retain(|peer| !peer.is_done());
            if peers.is_empty() {
                break;
            }
            // Only now: what is whole is done, even if somebody failed since.
            family.failure()?;
            let ready = ready(family, &peers, deadline)
                .map_err(|e| family.fail(Error::io("cannot wait for other ranks")(e).for_others(family.rank)))?;
            if !ready.contains(&true) && Instant::now() >= deadline {
                let ranks = peers.iter().map(|peer| peer.rank).collect();
                let late = Error::Timeout { ranks, collective: call.collective, waited: family.timeout };
                return Err(family.fail(late));
            }
            for (peer, _) in peers.iter_mut().zip(&ready).filter(|(_, ready)| **ready) {
                if advance(peer)? {
                    deadline = Instant::now() + family.timeout;
                }
            }
        }
        family.sent.add(call.collective, call.sent_by(family.rank, family.world));
        Ok(())
    }
}

/// Waits until some of the peers can go on, the alarm rings, or the deadline is over.
fn ready(family: &Family, peers: &[Peer<'_, Socket>], deadline: Instant) -> io::Result<Vec<bool>> {
    let mut fds = vec![PollFd::new(&family.alarm, PollFlags::IN)];
    for peer in peers {
        let mut wants = PollFlags::empty();
        wants.set(PollFlags::OUT, !peer.is_sent());
        wants.set(PollFlags::IN, !peer.is_received());
        fds.push(PollFd::new(&peer.pipe.0, wants));
    }
    wait(&mut fds, Some(deadline))?;
    Ok(fds[1..].iter().map(|fd| !fd.revents().is_empty()).collect())
}

/// A socket that does not wait.
struct Socket(TcpStream);

impl Pipe for Socket {
    fn write(&mut self, head: &[u8], body: &[u8]) -> io::Result<usize> {
        uninterrupted(|| self.0.write_vectored(&[IoSlice::new(head), IoSlice::new(body)]))
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match uninterrupted(|| self.0.read(into))? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            n => Ok(n),
        }
    }
}

fn uninterrupted(mut moves: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match moves() {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            moved => return moved,
        }
    }
}
