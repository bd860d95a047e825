//! A rank that is not rank 0: it goes to rank 0 and hears where the others are.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::address::{any_ip, bind_ip, connect, listen};
use super::lines::{Event, Lines, Word};
use super::meet::{Hello, Meeting, VERSION};
use super::rendezvous::JoinOptions;
use super::wire::{await_word, hear, left, tell};
use crate::error::{Error, Result};

/// What rank 0 may take longer than this rank's own time, to say that others are late.
const GRACE: Duration = Duration::from_secs(2);

/// A rank on its way to rank 0.
pub struct Guest<'a> {
    pub rank: usize,
    pub world: usize,
    pub options: &'a JoinOptions<'a>,
    /// Until when it looks for rank 0.
    pub deadline: Instant,
    /// Until when a refused connection may mean that rank 0 has not begun to listen.
    pub patience: Instant,
}

/// Why rank 0 was not met this time.
enum Fault {
    /// It may be there a little later.
    Again(io::Error),
    Final(Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Again(error)
    }
}

impl Guest<'_> {
    /// Says hello to rank 0, again and again until it hears, and waits until all others have come too.
    pub fn meet(&self, host: &str, port: u16) -> Result<Meeting> {
        let mut pause = Duration::from_millis(20);
        loop {
            let fault = match self.introduce(host, port) {
                Ok((stream, listener)) => return self.wait(stream, listener),
                Err(Fault::Final(error)) => return Err(error),
                Err(Fault::Again(e)) => e,
            };
            if (self.options.called_off)() {
                return Err(Error::CalledOff);
            }
            let gone = fault.kind() == ErrorKind::ConnectionRefused && left(self.patience).is_err();
            if gone || left(self.deadline).is_err() {
                return Err(Error::Setup(format!(
                    "rank {} did not reach rank 0 at {host}:{port} within {:?}: {fault}; is rank 0 running, and the port open?",
                    self.rank, self.options.rendezvous_timeout
                )));
            }
            thread::sleep(pause.min(left(self.deadline).unwrap_or_default()));
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }

    /// Until rank 0 knows of this rank.
    fn introduce(&self, host: &str, port: u16) -> Result<(TcpStream, TcpListener), Fault> {
        let stream = connect(host, port, self.deadline)?;
        let here = stream.local_addr()?;
        let listener = listen(if here.ip().is_loopback() { bind_ip(host) } else { any_ip(here.ip()) }, 0)?;
        let listens = SocketAddr::new(here.ip().to_canonical(), listener.local_addr()?.port());
        let (rank, world, label) = (self.rank, self.world, self.options.label.to_string());
        tell(&stream, &Hello { version: VERSION, rank, world, label, listens }, self.deadline)?;
        await_word(&stream, self.deadline, self.options.called_off)?;
        match hear(&stream, self.deadline) {
            Ok(Word::Heard) => Ok((stream, listener)),
            Ok(Word::Refused(reason)) => {
                Err(Fault::Final(Error::Setup(format!("rank 0 at {host}:{port} refused rank {rank}: {reason}"))))
            }
            Err(e) if e.kind() != ErrorKind::InvalidData => Err(e.into()),
            Ok(_) | Err(_) => Err(Fault::Final(Error::Setup(format!(
                "what answers at {host}:{port} is no rank 0 of this program: choose another master port"
            )))),
        }
    }

    /// Until all others have come; from here on a connection that closes is a rank that is gone.
    fn wait(&self, stream: TcpStream, listener: TcpListener) -> Result<Meeting> {
        let rank_0 = stream.peer_addr().map_err(Error::io("cannot see where rank 0 is"))?.ip();
        let mut lines = Lines::new(self.options.called_off);
        lines.add(0, stream);
        // Rank 0 may have begun to wait just now.
        let deadline = Instant::now() + self.options.rendezvous_timeout + GRACE;
        loop {
            match lines.next(None, deadline)? {
                Event::Said(_, Word::Welcome { token, mut peers }) => {
                    for peer in peers.iter_mut().filter(|peer| peer.ip().is_unspecified()) {
                        peer.set_ip(rank_0);
                    }
                    return Ok(Meeting { token, peers, listener, lines });
                }
                Event::Said(..) | Event::Knock => {}
                Event::Late => {
                    let words = format!("rank 0 did not say within {:?} who has come", self.options.rendezvous_timeout);
                    return Err(Error::Setup(words));
                }
            }
        }
    }
}
