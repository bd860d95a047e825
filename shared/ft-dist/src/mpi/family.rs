//! What the channels of one rank under MPI share: its fate, and the news of the others'.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mpi::environment::Universe;

use super::raw::Comm;
use crate::communicator::Sent;
use crate::error::{Error, Result};

/// How long after a failure the program may still speak before all ranks are ended.
const LAST_WORDS: Duration = Duration::from_secs(5);

const NEWS: i32 = 2;

/// The longest piece of news.
const LONGEST: usize = 4096;

/// What the channels of one rank share.
pub struct Family {
    pub rank: usize,
    pub world: usize,
    pub timeout: Duration,
    pub sent: Sent,
    control: Arc<Comm>,
    fate: Mutex<Fate>,
    /// Held by whoever takes a piece of news in.
    listening: Mutex<()>,
    /// Ends MPI when it is dropped, which waits for all ranks. The last field, for what MPI made must go before.
    universe: Mutex<Option<Universe>>,
}

#[derive(Default)]
struct Fate {
    failure: Option<Error>,
    /// Ranks that said goodbye.
    gone: BTreeSet<usize>,
}

impl Family {
    pub fn new(universe: Universe, control: Comm, timeout: Duration) -> Self {
        let (rank, world) = (control.rank(), control.size());
        let (fate, listening) = (Mutex::default(), Mutex::default());
        let universe = Mutex::new(Some(universe));
        Self { rank, world, timeout, sent: Sent::default(), control: Arc::new(control), fate, listening, universe }
    }

    /// The first cause, if there is one, as far as news have come.
    pub fn failure(&self) -> Result<()> {
        if let Err(e) = self.hear_news() {
            self.fail(Error::io("cannot hear from other ranks")(e).for_others(self.rank));
        }
        self.lock().failure.clone().map_or(Ok(()), Err)
    }

    pub fn is_gone(&self, rank: usize) -> bool {
        self.lock().gone.contains(&rank)
    }

    /// Makes `error` the cause, unless there is one already, tells everybody, and returns the cause. From now on
    /// the program has a few seconds to say its last words and to end by itself.
    pub fn fail(&self, error: Error) -> Error {
        let mut fate = self.lock();
        if let Some(cause) = &fate.failure {
            return cause.clone();
        }
        fate.failure = Some(error.clone());
        drop(fate);
        let (rank, reason) = match &error {
            Error::Rank { rank, reason } => (*rank, reason.clone()),
            other => (self.rank, other.to_string()),
        };
        self.announce(&format!("{rank} {reason}"));
        let control = self.control.clone();
        let end = move || {
            let deadline = Instant::now() + LAST_WORDS;
            while Instant::now() < deadline {
                // Looking for messages also sends those that are still here.
                drop(control.arrived(NEWS));
                thread::sleep(Duration::from_millis(20));
            }
            control.abort();
        };
        if thread::Builder::new().name("ft-dist last words".into()).spawn(end).is_err() {
            self.control.abort();
        }
        error
    }

    /// Says something to all other ranks; nothing is goodbye.
    fn announce(&self, text: &str) {
        let mut end = text.len().min(LONGEST);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        for rank in (0..self.world).filter(|&rank| rank != self.rank) {
            // So short a message leaves at once; if it does not, its buffer is left to MPI.
            if let Ok(mut sending) = self.control.send(text.as_bytes()[..end].to_vec(), rank, NEWS) {
                drop(sending.finished());
            }
        }
    }

    /// Takes in all news that have come.
    fn hear_news(&self) -> io::Result<()> {
        // One listener is enough, and two could wait for one message.
        let Ok(_listening) = self.listening.try_lock() else { return Ok(()) };
        while let Some((from, len)) = self.control.arrived(NEWS)? {
            let mut receiving = self.control.receive(vec![0; len], from, NEWS)?;
            let text = loop {
                if let Some((text, _)) = receiving.finished()? {
                    break String::from_utf8_lossy(&text).into_owned();
                }
            };
            match text.split_once(' ') {
                None => {
                    self.lock().gone.insert(from);
                }
                Some((rank, reason)) => {
                    let rank = rank.parse().unwrap_or(from);
                    self.fail(Error::Rank { rank, reason: reason.to_string() });
                }
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Fate> {
        self.fate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        if self.lock().failure.is_some() {
            // Ending MPI properly would wait for ranks that are gone.
            let universe = self.universe.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::mem::forget(universe.take());
        } else {
            self.announce("");
        }
    }
}
