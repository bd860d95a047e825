//! What the channels of one rank share: its fate, the links that carry bad news, and the thread that listens to them.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use serde::{Deserialize, Serialize};

use super::door::Door;
use super::wire::{hear, tell, wait};
use crate::collective::Collective;
use crate::communicator::Sent;
use crate::error::{Error, Result};

/// How long bad news may take to leave: a few bytes into a socket's buffer.
const NEWS: Duration = Duration::from_secs(1);

/// How long a broken socket waits for the news that says why.
const WHY: Duration = Duration::from_millis(300);

/// The first channel for collectives; 0 is the one for news.
pub const FIRST_CHANNEL: u64 = 1;

/// What one rank's channels share.
pub struct Family {
    pub rank: usize,
    pub world: usize,
    pub timeout: Duration,
    pub door: Door,
    pub sent: Sent,
    /// One socket a rank, for news alone.
    news: Vec<Option<TcpStream>>,
    fate: Mutex<Fate>,
    /// Told when there is a failure.
    fallen: Condvar,
    /// Hangs up when there is a failure, so that whoever polls wakes up.
    pub alarm: UnixStream,
    next_channel: AtomicU64,
}

struct Fate {
    failure: Option<Error>,
    /// Dropped at a failure: the other end of `alarm`.
    quiet: Option<UnixStream>,
}

/// What one rank tells another outside any collective.
#[derive(Serialize, Deserialize)]
enum News {
    /// The first cause that the sender knows of.
    Failed { rank: usize, reason: String },
    /// The sender leaves, and all is well.
    Bye,
}

impl Family {
    /// Of a rank that has a socket to each other one.
    pub fn new(rank: usize, timeout: Duration, door: Door, news: Vec<Option<TcpStream>>) -> Result<Self> {
        let (alarm, quiet) = UnixStream::pair().map_err(Error::io("cannot make a pair of sockets"))?;
        Ok(Self {
            rank,
            world: news.len(),
            timeout,
            door,
            sent: Sent::default(),
            news,
            fate: Mutex::new(Fate { failure: None, quiet: Some(quiet) }),
            fallen: Condvar::new(),
            alarm,
            next_channel: AtomicU64::new(FIRST_CHANNEL + 1),
        })
    }

    pub fn next_channel(&self) -> u64 {
        self.next_channel.fetch_add(1, Ordering::Relaxed)
    }

    /// The first cause, if there is one.
    pub fn failure(&self) -> Result<()> {
        self.lock().failure.clone().map_or(Ok(()), Err)
    }

    /// Makes `error` the cause, unless there is one already, tells everybody, and returns the cause.
    pub fn fail(&self, error: Error) -> Error {
        let mut fate = self.lock();
        if let Some(cause) = &fate.failure {
            return cause.clone();
        }
        fate.failure = Some(error.clone());
        // Under the lock: whoever learns of the failure from here on, and leaves, does so after these words.
        let (rank, reason) = match &error {
            Error::Rank { rank, reason } => (*rank, reason.clone()),
            other => (self.rank, other.to_string()),
        };
        self.announce(&News::Failed { rank, reason });
        fate.quiet = None;
        self.fallen.notify_all();
        self.door.changed.notify_all();
        error
    }

    /// A socket to `rank` broke: the news say why, or else it left.
    pub fn lost(&self, rank: usize, collective: Collective) -> Error {
        let deadline = Instant::now() + WHY;
        let mut fate = self.lock();
        loop {
            if let Some(cause) = &fate.failure {
                return cause.clone();
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { break };
            fate = self.fallen.wait_timeout(fate, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(fate);
        self.fail(Error::Rank { rank, reason: format!("it left while others waited for it at {collective}") })
    }

    fn announce(&self, news: &News) {
        for stream in self.news.iter().flatten() {
            // Who does not listen any more needs no news.
            drop(tell(stream, news, Instant::now() + NEWS));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Fate> {
        self.fate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets guests in and hears news, until `stop` hangs up.
    fn watch(&self, stop: &UnixStream) -> io::Result<()> {
        let mut present: Vec<usize> = (0..self.world).filter(|&rank| self.news[rank].is_some()).collect();
        loop {
            let streams: Vec<(usize, &TcpStream)> =
                present.iter().filter_map(|&rank| Some((rank, self.news[rank].as_ref()?))).collect();
            let mut fds = vec![PollFd::new(stop, PollFlags::IN), PollFd::new(&self.door.listener, PollFlags::IN)];
            fds.extend(streams.iter().map(|(_, stream)| PollFd::new(*stream, PollFlags::IN)));
            wait(&mut fds, None)?;
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            if ready[0] {
                return Ok(());
            }
            for ((rank, stream), _) in streams.iter().zip(&ready[2..]).filter(|(_, ready)| **ready) {
                if !self.hear_news(*rank, stream) {
                    present.retain(|other| other != rank);
                }
            }
            if ready[1]
                && let Err(error) = self.door.admit(Instant::now())
            {
                self.fail(error.for_others(self.rank));
            }
        }
    }

    /// Hears one piece of news; false where none will come any more.
    fn hear_news(&self, rank: usize, stream: &TcpStream) -> bool {
        match hear(stream, Instant::now() + NEWS) {
            Ok(News::Failed { rank, reason }) => {
                self.fail(Error::Rank { rank, reason });
                true
            }
            Ok(News::Bye) => false,
            Err(e) => {
                let reason = match e.kind() {
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => "its connection closed".to_string(),
                    _ => format!("its connection broke: {e}"),
                };
                self.fail(Error::Rank { rank, reason });
                false
            }
        }
    }
}

/// The family, with its watching thread. When the last channel is dropped, it says goodbye.
pub struct Household {
    pub family: Arc<Family>,
    stop: Option<UnixStream>,
    watcher: Option<JoinHandle<()>>,
}

impl Household {
    pub fn new(family: Family) -> Result<Self> {
        let family = Arc::new(family);
        let (stop, stopped) = UnixStream::pair().map_err(Error::io("cannot make a pair of sockets"))?;
        let watched = family.clone();
        let watch = move || {
            if let Err(e) = watched.watch(&stopped) {
                watched.fail(Error::io("cannot watch the other ranks")(e).for_others(watched.rank));
            }
        };
        let watcher = thread::Builder::new().name("ft-dist watcher".into()).spawn(watch);
        let watcher = watcher.map_err(Error::io("cannot start the watching thread"))?;
        Ok(Self { family, stop: Some(stop), watcher: Some(watcher) })
    }
}

impl Drop for Household {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(watcher) = self.watcher.take() {
            drop(watcher.join());
        }
        self.family.announce(&News::Bye);
    }
}
