//! Each rank connects to each other one, while all watch that nobody is gone.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::door::Door;
use super::lines::{Event, Lines, Word};
use crate::error::{Error, Result};

/// The channel for news.
const NEWS: u64 = 0;

/// This rank's socket to each of `world` ranks, for news; returns when every rank has all of its own.
pub fn news(
    (rank, world): (usize, usize),
    timeout: Duration,
    door: &Door,
    lines: &Lines,
) -> Result<Vec<Option<TcpStream>>> {
    let mut connected = BTreeSet::new();
    // Nobody else listens at the door yet, so whoever waits lets guests in himself.
    let streams = door.channel(NEWS, timeout, |deadline| {
        match lines.next(Some(&door.listener), deadline)? {
            Event::Knock => door.admit(deadline)?,
            Event::Said(rank, _) => drop(connected.insert(rank)),
            Event::Late => {}
        }
        Ok(())
    });
    let streams = streams.map_err(|fault| lines.cause(rank, fault))?;
    if rank == 0 {
        all(world, timeout, lines, connected)?;
    } else {
        lines.tell(0, &Word::Connected)?;
        wait(timeout, lines)?;
    }
    Ok(streams)
}

/// Rank 0: waits until all others are connected, as some are already, and tells them.
fn all(world: usize, timeout: Duration, lines: &Lines, mut connected: BTreeSet<usize>) -> Result<()> {
    let deadline = Instant::now() + timeout;
    while connected.len() + 1 < world {
        match lines.next(None, deadline)? {
            Event::Said(rank, _) => drop(connected.insert(rank)),
            Event::Knock => {}
            Event::Late => {
                let late = (1..world).filter(|rank| !connected.contains(rank)).map(|rank| rank.to_string());
                let late = late.collect::<Vec<_>>().join(", ");
                let words = format!("ranks that did not connect to all others within {timeout:?}: {late}");
                lines.tell_all(&Word::Late(words.clone()), |_| true);
                return Err(Error::Setup(words));
            }
        }
    }
    // Whoever is gone by now is noticed by those that watch it from here on.
    lines.tell_all(&Word::Connected, |_| true);
    Ok(())
}

/// Any other rank: waits until rank 0 says that all are connected.
fn wait(timeout: Duration, lines: &Lines) -> Result<()> {
    let deadline = Instant::now() + timeout;
    loop {
        match lines.next(None, deadline)? {
            Event::Said(_, Word::Connected) => return Ok(()),
            Event::Said(..) | Event::Knock => {}
            Event::Late => {
                return Err(Error::Setup(format!("rank 0 did not say within {timeout:?} that all are connected")));
            }
        }
    }
}
