//! How ranks that are processes find each other.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Rendezvous;
use super::store::Store;
use super::wire::{hear, left, readable, tell};
use crate::error::{Error, Result};

/// Changes when ranks of two builds would not understand each other.
pub const VERSION: u32 = 1;

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
}

/// A rank's first words to rank 0.
#[derive(Serialize, Deserialize)]
struct Hello {
    version: u32,
    rank: usize,
    world: usize,
    label: String,
    /// Where it listens for the others.
    listens: SocketAddr,
}

/// Rank 0's answer.
#[derive(Serialize, Deserialize)]
enum Answer {
    Welcome { token: String, peers: Vec<SocketAddr> },
    Refused(String),
}

/// The rank that wants to meet others.
pub struct Seeker<'a> {
    pub rank: usize,
    pub world: usize,
    pub label: &'a str,
    pub timeout: Duration,
}

impl Seeker<'_> {
    /// Meets the others, by way of rank 0.
    pub fn meet(&self, rendezvous: &Rendezvous) -> Result<Meeting> {
        let deadline = Instant::now() + self.timeout;
        match rendezvous {
            Rendezvous::Master { host, port } => {
                let place = format!("{host}:{port}");
                if self.rank > 0 {
                    return self.ask(host, *port, deadline);
                }
                let listener = listen(bind_ip(host), *port).map_err(|e| {
                    Error::Setup(format!("rank 0 cannot listen on {place}: {e}; choose another master port"))
                })?;
                self.host(&listener, host, deadline)
            }
            Rendezvous::TcpStore { host, port } => {
                let key = format!("/ft-dist/{}/rank-0", self.label);
                let store = Store::connect(host, *port, deadline)?;
                if self.rank == 0 {
                    let ip = store.local_ip()?;
                    let listener = listen(bind_ip(host), 0).map_err(Error::io("rank 0 cannot listen"))?;
                    let port = listener.local_addr().map_err(Error::io("rank 0 cannot listen"))?.port();
                    // Another machine cannot use a loopback address: it knows this one by the store's.
                    let ip = if ip.is_loopback() { String::new() } else { ip.to_string() };
                    store.set(&key, &format!("{ip} {port}"), deadline)?;
                    return self.host(&listener, host, deadline);
                }
                let told = store.get(&key, deadline)?;
                let place = told.split_once(' ').and_then(|(ip, port)| Some((ip, port.parse::<u16>().ok()?)));
                let Some((ip, port)) = place else {
                    return Err(Error::Setup(format!("the store's key {key} should hold an address, but is '{told}'")));
                };
                self.ask(if ip.is_empty() { host } else { ip }, port, deadline)
            }
        }
    }

    /// Rank 0: waits for all others, then tells each where the others are.
    fn host(&self, listener: &TcpListener, host: &str, deadline: Instant) -> Result<Meeting> {
        let own = listen(bind_ip(host), 0).map_err(Error::io("rank 0 cannot listen"))?;
        let port = own.local_addr().map_err(Error::io("rank 0 cannot listen"))?.port();
        let token = token();
        let mut guests: BTreeMap<usize, (TcpStream, SocketAddr)> = BTreeMap::new();
        let mut refused = String::new();
        while guests.len() + 1 < self.world {
            let stream = match accept(listener, deadline) {
                Ok(stream) => stream,
                Err(e) if e.kind() == ErrorKind::TimedOut => return Err(self.incomplete(&guests, &refused)),
                Err(e) => return Err(Error::io("rank 0 cannot accept a connection")(e)),
            };
            // Whoever says nothing, or nothing that a rank says, is let go.
            let Ok(hello) = hear::<Hello>(&stream, Instant::now() + INTRODUCTION) else { continue };
            if let Some(reason) = self.refuses(&hello, &guests) {
                refused = format!("; rank {} was refused: {reason}", hello.rank);
                drop(tell(&stream, &Answer::Refused(reason), Instant::now() + INTRODUCTION));
                continue;
            }
            guests.insert(hello.rank, (stream, hello.listens));
        }
        let mut peers = vec![SocketAddr::new(UNKNOWN, port)];
        peers.extend(guests.values().map(|guest| guest.1));
        for (rank, (stream, listens)) in &guests {
            // Who is reached by loopback is on rank 0's machine: others find him where they found rank 0.
            let hide = |peer: &SocketAddr| {
                let hidden = peer.ip().is_loopback() && !listens.ip().is_loopback();
                SocketAddr::new(if hidden { UNKNOWN } else { peer.ip() }, peer.port())
            };
            let welcome = Answer::Welcome { token: token.clone(), peers: peers.iter().map(hide).collect() };
            tell(stream, &welcome, deadline).map_err(|e| Error::Rank {
                rank: *rank,
                reason: format!("its connection broke while the ranks met: {e}"),
            })?;
        }
        Ok(Meeting { token, peers, listener: own })
    }

    /// Why rank 0 does not take this one, if it does not.
    fn refuses(&self, hello: &Hello, guests: &BTreeMap<usize, (TcpStream, SocketAddr)>) -> Option<String> {
        let rank = hello.rank;
        if hello.version != VERSION {
            Some(format!("rank 0 speaks version {VERSION}, rank {rank} version {}: use one build", hello.version))
        } else if hello.label != self.label {
            Some(format!("rank 0 belongs to run '{}', rank {rank} to '{}'", self.label, hello.label))
        } else if hello.world != self.world {
            Some(format!("rank 0 was started as one of {} ranks, rank {rank} as one of {}", self.world, hello.world))
        } else if rank == 0 || rank >= self.world {
            Some(format!("rank {rank} is not one of 1 to {}", self.world - 1))
        } else if guests.contains_key(&rank) {
            Some(format!("rank {rank} is here already: two processes were started with this rank"))
        } else {
            None
        }
    }

    fn incomplete(&self, guests: &BTreeMap<usize, (TcpStream, SocketAddr)>, refused: &str) -> Error {
        let missing: Vec<String> =
            (1..self.world).filter(|rank| !guests.contains_key(rank)).map(|rank| rank.to_string()).collect();
        Error::Setup(format!(
            "rank 0 waited {:?} for ranks that did not come: {}{refused}; start them with the same master address",
            self.timeout,
            missing.join(", ")
        ))
    }

    /// Any other rank: says hello to rank 0 and hears where the others are.
    fn ask(&self, host: &str, port: u16, deadline: Instant) -> Result<Meeting> {
        let place = format!("{host}:{port}");
        let mut pause = Duration::from_millis(20);
        loop {
            let fault = match self.ask_once(host, port, deadline) {
                Ok(meeting) => return Ok(meeting),
                Err(AskFault::Final(error)) => return Err(error),
                Err(AskFault::Again(e)) => e,
            };
            if left(deadline).is_err() {
                return Err(Error::Setup(format!(
                    "rank {} did not reach rank 0 at {place} within {:?}: {fault}; is rank 0 running, and the port open?",
                    self.rank, self.timeout
                )));
            }
            thread::sleep(pause.min(left(deadline).unwrap_or_default()));
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }

    fn ask_once(&self, host: &str, port: u16, deadline: Instant) -> Result<Meeting, AskFault> {
        let stream = connect(host, port, deadline)?;
        let here = stream.local_addr()?;
        let listener = listen(if here.ip().is_loopback() { bind_ip(host) } else { any_ip(here.ip()) }, 0)?;
        let listens = SocketAddr::new(here.ip().to_canonical(), listener.local_addr()?.port());
        let (rank, world, label) = (self.rank, self.world, self.label.to_string());
        tell(&stream, &Hello { version: VERSION, rank, world, label, listens }, deadline)?;
        match hear(&stream, deadline) {
            Ok(Answer::Welcome { token, mut peers }) => {
                let master = stream.peer_addr()?.ip();
                for peer in peers.iter_mut().filter(|peer| peer.ip().is_unspecified()) {
                    peer.set_ip(master);
                }
                Ok(Meeting { token, peers, listener })
            }
            Ok(Answer::Refused(reason)) => {
                Err(AskFault::Final(Error::Setup(format!("rank 0 at {host}:{port} refused rank {rank}: {reason}"))))
            }
            Err(e) if e.kind() == ErrorKind::InvalidData => Err(AskFault::Final(Error::Setup(format!(
                "what answers at {host}:{port} is no rank 0 of this program: choose another master port"
            )))),
            Err(e) => Err(e.into()),
        }
    }
}

/// Why rank 0 was not met this time.
enum AskFault {
    /// It may be there a little later.
    Again(io::Error),
    Final(Error),
}

impl From<io::Error> for AskFault {
    fn from(error: io::Error) -> Self {
        Self::Again(error)
    }
}

/// An address that the reader replaces by the one that it reached rank 0 at.
const UNKNOWN: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Connects to the first of the host's addresses that answers.
pub fn connect(host: &str, port: u16, deadline: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::new(ErrorKind::NotFound, format!("{host} has no address"));
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(deadline)?.min(Duration::from_secs(5))) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// The next connection; `TimedOut` where none comes before the deadline.
pub fn accept(listener: &TcpListener, deadline: Instant) -> io::Result<TcpStream> {
    loop {
        if !readable(listener, deadline)? {
            return Err(ErrorKind::TimedOut.into());
        }
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            // Gone again before it was taken.
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionAborted) => {}
            Err(e) => return Err(e),
        }
    }
}

fn listen(ip: IpAddr, port: u16) -> io::Result<TcpListener> {
    let listener = TcpListener::bind((ip, port))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Where to listen so that whoever knows this machine as `host` can connect: only a plain loopback name is kept
/// to this machine, for a machine's own name is often a loopback address at home.
fn bind_ip(host: &str) -> IpAddr {
    match host.parse::<IpAddr>() {
        Ok(ip) if ip.is_loopback() => ip,
        Ok(ip) => any_ip(ip),
        Err(_) => match (host, 0).to_socket_addrs().ok().and_then(|mut addresses| addresses.next()) {
            Some(address) if host == "localhost" => address.ip(),
            Some(address) => any_ip(address.ip()),
            None => any_ip(UNKNOWN),
        },
    }
}

/// All of this machine's addresses of that kind.
fn any_ip(like: IpAddr) -> IpAddr {
    if like.to_canonical().is_ipv4() { UNKNOWN } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) }
}

/// Tells this meeting's connections from others'. It guards against mistakes, not against attackers.
fn token() -> String {
    use std::hash::{BuildHasher, RandomState};
    let word = || RandomState::new().hash_one(std::process::id());
    format!("{:016x}{:016x}", word(), word())
}
