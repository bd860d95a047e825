//! Ranks as threads of one process.

use std::collections::BTreeSet;
use std::fmt::{Debug, Formatter};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::call::Call;
use crate::carrier::Carrier;
use crate::collective::Collective;
use crate::communicator::{Communicator, Sent, bounded};
use crate::error::{Error, Result};

/// One of several ranks that are threads of one process.
///
/// A rank posts a copy of its bytes and takes its parts out of the others' posts, so every byte is copied twice. A
/// rank whose communicator is dropped while others wait for it has failed.
pub struct Threads {
    rank: usize,
    channel: usize,
    /// How many collectives this rank has called on this channel; held during a call.
    calls: Mutex<u64>,
    group: Arc<Group>,
    sent: Arc<Sent>,
}

/// What the threads share.
struct Group {
    world: usize,
    timeout: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The first cause, once there is one.
    failure: Option<Error>,
    channels: Vec<Channel>,
}

/// One sequence of collectives. A rank can post its next call while others still read the last one, but not the one
/// after that, for it needs their posts of the next one first: two rounds are enough.
#[derive(Default)]
struct Channel {
    rounds: [Round; 2],
    gone: BTreeSet<usize>,
}

/// The posts of one collective, until all ranks have taken them.
#[derive(Default)]
struct Round {
    posts: Vec<Option<Post>>,
    taken: usize,
    /// The channel made by a `duplicate`.
    made: Option<usize>,
}

#[derive(Clone)]
struct Post {
    call: Call,
    bytes: Arc<Vec<u8>>,
}

impl Threads {
    /// `world` communicators, one for each thread. No wait is longer than `timeout`.
    #[allow(clippy::new_ret_no_self, reason = "a rank alone makes no sense")]
    pub fn new(world: usize, timeout: Duration) -> Vec<Arc<dyn Communicator>> {
        let state = State { failure: None, channels: vec![Channel::default()] };
        let timeout = bounded(timeout);
        let group = Arc::new(Group { world, timeout, state: Mutex::new(state), changed: Condvar::new() });
        let one = |rank| Self::on(rank, 0, group.clone(), Arc::default());
        (0..world).map(|rank| Arc::new(one(rank)) as Arc<dyn Communicator>).collect()
    }

    fn on(rank: usize, channel: usize, group: Arc<Group>, sent: Arc<Sent>) -> Self {
        Self { rank, channel, calls: Mutex::new(0), group, sent }
    }

    /// Waits until every rank has posted, and returns their posts and the channel made, if one was. The calls of all
    /// ranks fit each other then.
    fn meet(&self, call: &Call, bytes: Vec<u8>) -> Result<(Vec<Post>, Option<usize>)> {
        let mut calls = lock(&self.calls);
        let number = *calls;
        let mut state = self.group.lock();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        let made = (call.collective == Collective::Duplicate).then(|| state.channels.len());
        let world = self.group.world;
        let round = state.round(self.channel, number, world);
        round.posts[self.rank] = Some(Post { call: call.clone(), bytes: Arc::new(bytes) });
        let mut make = false;
        if round.made.is_none() && made.is_some() {
            (round.made, make) = (made, true);
        }
        if make {
            state.channels.push(Channel::default());
        }
        self.group.changed.notify_all();
        let (mut state, posts) = self.wait_for_posts(state, call.collective, number)?;
        if let Err(error) = all_fit(&posts, number) {
            return Err(self.group.fail_locked(&mut state, error));
        }
        let round = state.round(self.channel, number, world);
        let made = round.made;
        round.taken += 1;
        if round.taken == world {
            *round = Round::default();
        }
        *calls += 1;
        Ok((posts, made))
    }

    fn wait_for_posts<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        collective: Collective,
        number: u64,
    ) -> Result<(MutexGuard<'a, State>, Vec<Post>)> {
        let deadline = Instant::now() + self.group.timeout;
        loop {
            let posts = &state.round(self.channel, number, self.group.world).posts;
            let missing: Vec<usize> = (0..posts.len()).filter(|&rank| posts[rank].is_none()).collect();
            if missing.is_empty() {
                let posts = posts.iter().flatten().cloned().collect();
                return Ok((state, posts));
            }
            // What is whole is done, even if somebody failed since: ranks end a collective alike as far as possible.
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            if let Some(&rank) = missing.iter().find(|rank| state.channels[self.channel].gone.contains(rank)) {
                let reason = format!("it left while others waited for it at {collective}");
                return Err(self.group.fail_locked(&mut state, Error::Rank { rank, reason }));
            }
            let now = Instant::now();
            if now >= deadline {
                let late = Error::Timeout { ranks: missing, collective, waited: self.group.timeout };
                return Err(self.group.fail_locked(&mut state, late));
            }
            let waited = self.group.changed.wait_timeout(state, deadline - now);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Whether all posts belong to one collective; names the first rank that differs from a lower one.
fn all_fit(posts: &[Post], number: u64) -> Result<()> {
    for (other_rank, other) in posts.iter().enumerate() {
        for (rank, post) in posts[..=other_rank].iter().enumerate() {
            post.call.fits(rank, &other.call, other_rank, number)?;
        }
    }
    Ok(())
}

impl Group {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn fail(&self, error: Error) {
        self.fail_locked(&mut self.lock(), error);
    }

    /// Makes `error` the cause, unless there is one already, wakes everybody, and returns the cause.
    fn fail_locked(&self, state: &mut State, error: Error) -> Error {
        let cause = state.failure.get_or_insert(error).clone();
        self.changed.notify_all();
        cause
    }
}

impl State {
    fn round(&mut self, channel: usize, number: u64, world: usize) -> &mut Round {
        let round = &mut self.channels[channel].rounds[(number % 2) as usize];
        round.posts.resize(world, None);
        round
    }
}

/// A rank that panicked is seen as one that left; what it held is whole, for nothing is half-written under a lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.group.lock().channels[self.channel].gone.insert(self.rank);
        self.group.changed.notify_all();
    }
}

impl Debug for Threads {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "Threads {{ rank: {}, world: {}, channel: {} }}", self.rank, self.group.world, self.channel)
    }
}

impl Carrier for Threads {
    const KIND: &'static str = "threads";

    fn place(&self) -> (usize, usize) {
        (self.rank, self.group.world)
    }

    /// Posts this rank's bytes, waits for all ranks, and copies this rank's parts of their bytes to `out`.
    fn exchange(&self, call: Result<Call>, send: &[u8], out: &mut [u8]) -> Result<()> {
        let call = call.inspect_err(|error| self.group.fail(error.for_others(self.rank)))?;
        let sends = call.sent_by(self.rank, self.group.world);
        // What goes nowhere need not be copied.
        let post = if sends == 0 { Vec::new() } else { send.to_vec() };
        let (posts, _) = self.meet(&call, post)?;
        for (from, post) in posts.iter().enumerate() {
            let (own, part) = (from == self.rank, call.part_received(from));
            // A root has its bytes already, and no room for them in `out`.
            if part.is_empty() || own && call.collective == Collective::Broadcast {
                continue;
            }
            let sent = post.call.part_sent(from, self.rank);
            out[part].copy_from_slice(if own { &send[sent] } else { &post.bytes[sent] });
        }
        self.sent.add(call.collective, sends);
        Ok(())
    }

    fn fail(&self, reason: &str) {
        self.group.fail(Error::Rank { rank: self.rank, reason: reason.to_string() });
    }

    fn another(&self) -> Result<Self> {
        let (_, made) = self.meet(&Call::duplicate(), Vec::new())?;
        let channel = made.ok_or_else(|| Error::Setup("a duplicated channel has no number".into()))?;
        Ok(Self::on(self.rank, channel, self.group.clone(), self.sent.clone()))
    }

    fn fate(&self) -> Result<()> {
        self.group.lock().failure.clone().map_or(Ok(()), Err)
    }

    fn sent(&self) -> &Sent {
        &self.sent
    }
}
