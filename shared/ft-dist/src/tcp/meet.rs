//! How ranks that are processes find each other: all others come to rank 0, which tells each where the others are.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::address::{UNKNOWN, accept, bind_ip, listen};
use super::lines::{Event, Lines, Word};
use super::rendezvous::JoinOptions;
use super::wire::{hear, tell};
use crate::error::{Error, Result};

/// Changes when ranks of two builds would not understand each other.
pub const VERSION: u32 = 2;

/// How long somebody who connects may take to say who he is.
pub const INTRODUCTION: Duration = Duration::from_secs(1);

/// Who is here, and where.
pub struct Meeting {
    /// Known to the ranks of this meeting only.
    pub token: String,
    /// Where each rank listens.
    pub peers: Vec<SocketAddr>,
    /// Where this rank listens.
    pub listener: TcpListener,
    /// To rank 0, or from it to all others.
    pub lines: Lines,
}

/// A rank's first words to rank 0.
#[derive(Serialize, Deserialize)]
pub struct Hello {
    pub version: u32,
    pub rank: usize,
    pub world: usize,
    pub label: String,
    /// Where it listens for the others.
    pub listens: SocketAddr,
}

/// Rank 0, which the others come to.
pub struct Host<'a> {
    pub world: usize,
    pub options: &'a JoinOptions<'a>,
    /// How long it waits for them, and until when.
    pub deadline: Instant,
}

/// The others that have come.
struct Guests {
    lines: Lines,
    /// Where each listens.
    listens: BTreeMap<usize, SocketAddr>,
    /// Words about the last one that was sent away.
    refused: String,
}

impl Host<'_> {
    /// Waits for all others at `listener`, which they know as `host`, then tells each where the others are.
    pub fn meet(&self, listener: &TcpListener, host: &str) -> Result<Meeting> {
        let own = listen(bind_ip(host), 0).map_err(Error::io("rank 0 cannot listen"))?;
        let port = own.local_addr().map_err(Error::io("rank 0 cannot listen"))?.port();
        let lines = Lines::new(self.options.called_off);
        let mut guests = Guests { lines, listens: BTreeMap::new(), refused: String::new() };
        while guests.lines.len() + 1 < self.world {
            match guests.lines.next(Some(listener), self.deadline)? {
                Event::Knock => {
                    let stream =
                        accept(listener, self.deadline).map_err(Error::io("rank 0 cannot accept a connection"))?;
                    self.admit(stream, &mut guests)?;
                }
                // Nobody has anything to say yet.
                Event::Said(..) => {}
                Event::Late => {
                    let words = self.incomplete(&guests);
                    guests.lines.tell_all(&Word::Late(words.clone()), |_| true);
                    return Err(Error::Setup(words));
                }
            }
        }
        let token = token();
        let mut peers = vec![SocketAddr::new(UNKNOWN, port)];
        peers.extend(guests.listens.values());
        for (rank, listens) in &guests.listens {
            // Who is reached by loopback is on rank 0's machine: others find him where they found rank 0.
            let hide = |peer: &SocketAddr| {
                let hidden = peer.ip().is_loopback() && !listens.ip().is_loopback();
                SocketAddr::new(if hidden { UNKNOWN } else { peer.ip() }, peer.port())
            };
            let peers = peers.iter().map(hide).collect();
            guests.lines.tell(*rank, &Word::Welcome { token: token.clone(), peers })?;
        }
        Ok(Meeting { token, peers, listener: own, lines: guests.lines })
    }

    /// Hears who it is; whoever says nothing, or nothing that a rank says, is let go.
    fn admit(&self, stream: TcpStream, guests: &mut Guests) -> Result<()> {
        let moment = Instant::now() + INTRODUCTION;
        let Ok(hello) = hear::<Hello>(&stream, moment) else { return Ok(()) };
        let rank = hello.rank;
        if let Some(reason) = self.refuses(&hello, guests) {
            guests.refused = format!("; rank {rank} was refused: {reason}");
            drop(tell(&stream, &Word::Refused(reason), moment));
            return Ok(());
        }
        guests.lines.add(rank, stream);
        guests.listens.insert(rank, hello.listens);
        guests.lines.tell(rank, &Word::Heard)?;
        (self.options.arrived)(rank, guests.lines.len() + 1);
        Ok(())
    }

    /// Why rank 0 does not take this one, if it does not.
    fn refuses(&self, hello: &Hello, guests: &Guests) -> Option<String> {
        let (rank, label, world) = (hello.rank, self.options.label, self.world);
        if hello.version != VERSION {
            Some(format!("rank 0 speaks version {VERSION}, rank {rank} version {}: use one build", hello.version))
        } else if hello.label != label {
            Some(format!("rank 0 belongs to run '{label}', rank {rank} to '{}'", hello.label))
        } else if hello.world != world {
            Some(format!("rank 0 was started as one of {world} ranks, rank {rank} as one of {}", hello.world))
        } else if rank == 0 || rank >= world {
            Some(format!("rank {rank} is not one of 1 to {}", world - 1))
        } else if guests.lines.has(rank) {
            Some(format!("rank {rank} is here already: two processes were started with this rank"))
        } else {
            None
        }
    }

    fn incomplete(&self, guests: &Guests) -> String {
        const NAMED: usize = 20;
        let missing: Vec<usize> = (1..self.world).filter(|rank| !guests.lines.has(*rank)).collect();
        let named: Vec<String> = missing.iter().take(NAMED).map(ToString::to_string).collect();
        let more = missing.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!(
            "rank 0 waited {:?} for ranks that did not come: {}{more}{}; start them with the same master address, or \
             allow more time",
            self.options.rendezvous_timeout,
            named.join(", "),
            guests.refused
        )
    }
}

/// Tells this meeting's connections from others'. It guards against mistakes, not against attackers.
fn token() -> String {
    use std::hash::{BuildHasher, RandomState};
    let word = || RandomState::new().hash_one(std::process::id());
    format!("{:016x}{:016x}", word(), word())
}
