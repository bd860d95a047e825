//! Hears the engine's spans and adds up their time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ft_kernels::clock::cpu_time;
use ft_model::spans::{PASSES, TARGET};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Metadata, Subscriber};

/// An operator, and the pass that it ran in; none outside of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    pub name: &'static str,
    pub pass: &'static str,
}

/// The time of all spans of a key, without that of spans inside them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    pub wall: Duration,
    /// What the threads did not run of it, all together, where that is known.
    pub idle: Option<Duration>,
}

/// A listener for one thread's spans. What is no span of the engine goes on to whoever listened before.
pub struct Listener {
    before: Dispatch,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    names: HashMap<u64, &'static str>,
    last: u64,
    open: Vec<Open>,
    all: HashMap<Key, (Duration, Duration)>,
}

/// A span that is entered.
struct Open {
    name: &'static str,
    wall: Instant,
    cpu: Duration,
    /// Of the spans inside it: wall and processor time.
    inside: (Duration, Duration),
}

impl Listener {
    /// Nothing is heard yet.
    pub fn new() -> Self {
        Self { before: tracing::dispatcher::get_default(Clone::clone), heard: Mutex::default() }
    }

    /// What was heard since it was asked last; `threads` share the work.
    pub fn take(&self, threads: usize) -> Vec<(Key, Spent)> {
        let all = std::mem::take(&mut self.lock().all);
        let spent = |(key, (wall, cpu)): (Key, (Duration, Duration))| {
            (key, Spent { wall, idle: Some((wall * threads as u32).saturating_sub(cpu)) })
        };
        all.into_iter().filter(|(key, _)| !PASSES.contains(&key.name)).map(spent).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heard {
    fn leave(&mut self) {
        let Some(open) = self.open.pop() else { return };
        let (wall, cpu) = (open.wall.elapsed(), cpu_time().saturating_sub(open.cpu));
        if let Some(around) = self.open.last_mut() {
            around.inside.0 += wall;
            around.inside.1 += cpu;
        }
        let pass = self.open.iter().rev().find(|open| PASSES.contains(&open.name)).map_or("", |open| open.name);
        let sum = self.all.entry(Key { name: open.name, pass }).or_default();
        sum.0 += wall.saturating_sub(open.inside.0);
        sum.1 += cpu.saturating_sub(open.inside.1);
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TARGET || (metadata.is_event() && self.before.enabled(metadata))
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut heard = self.lock();
        heard.last += 1;
        let id = heard.last;
        heard.names.insert(id, span.metadata().name());
        Id::from_u64(id)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.before.event(event);
    }

    fn enter(&self, id: &Id) {
        let mut heard = self.lock();
        let name = heard.names.get(&id.into_u64()).copied().unwrap_or_default();
        let (wall, cpu) = (Instant::now(), cpu_time());
        heard.open.push(Open { name, wall, cpu, inside: (Duration::ZERO, Duration::ZERO) });
    }

    fn exit(&self, _: &Id) {
        self.lock().leave();
    }

    fn try_close(&self, id: Id) -> bool {
        self.lock().names.remove(&id.into_u64()).is_some()
    }
}
