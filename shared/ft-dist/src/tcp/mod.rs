//! Ranks as processes, on one machine or many, that speak over TCP.

mod address;
mod connect;
mod door;
mod family;
mod guest;
mod lines;
mod links;
mod meet;
mod rendezvous;
mod seek;
mod store;
mod wire;

use std::fmt::{Debug, Formatter};
use std::sync::{Arc, Mutex, PoisonError};

use crate::call::Call;
use crate::carrier::Carrier;
use crate::communicator::{Communicator, MAX_RANKS, Sent, bounded};
use crate::error::{Error, Result};
use door::Door;
use family::{FIRST_CHANNEL, Family, Household};
use links::Links;
use meet::Meeting;

pub use rendezvous::{JoinOptions, Rendezvous};

/// One of several ranks that are processes, with a socket to each other one.
///
/// A rank whose process ends, however it ends, is noticed at once by the others; a rank whose machine falls silent
/// is noticed after the timeout.
pub struct Tcp {
    // Dropped first: the sockets of this channel close before the household says goodbye.
    links: Mutex<Links>,
    household: Arc<Household>,
}

impl Tcp {
    /// Meets the other ranks and connects to each of them.
    ///
    /// One rank alone meets nobody and is [`Solo`](crate::Solo). From the moment that rank 0 has heard of a rank, one
    /// whose process ends is noticed at once by all that are there.
    ///
    /// # Errors
    /// [`Error::Setup`] if `rank` is none of `world`, an address cannot be used, ranks do not come in time, or rank 0
    /// refuses this one; [`Error::Rank`] if one fails meanwhile.
    pub fn join(
        rendezvous: &Rendezvous,
        rank: usize,
        world: usize,
        options: &JoinOptions<'_>,
    ) -> Result<Arc<dyn Communicator>> {
        if world > MAX_RANKS {
            return Err(Error::Setup(format!("{world} ranks: no more than {MAX_RANKS} can meet")));
        }
        if rank >= world {
            return Err(Error::Setup(format!("rank {rank} of {world} ranks: a rank is below their number")));
        }
        if world == 1 {
            return Ok(Arc::new(crate::Solo));
        }
        let (rendezvous_timeout, timeout) = (bounded(options.rendezvous_timeout), bounded(options.timeout));
        let options = JoinOptions { rendezvous_timeout, timeout, ..*options };
        let Meeting { token, peers, listener, lines } = seek::meet(rendezvous, rank, world, &options)?;
        let door = Door::new(rank, token, peers, listener);
        let news = connect::news((rank, world), rendezvous_timeout, &door, &lines)?;
        let household = Household::new(Family::new(rank, timeout, door, news)?)?;
        drop(lines);
        Ok(Arc::new(Self::open(Arc::new(household), FIRST_CHANNEL)?))
    }

    /// Connects the sockets of one more channel.
    fn open(household: Arc<Household>, channel: u64) -> Result<Self> {
        let family = &household.family;
        let streams = family.door.channel(channel, family.timeout, |deadline| {
            family.failure()?;
            family.door.wait_for_guest(deadline);
            Ok(())
        });
        let links = streams.and_then(Links::new);
        let links = links.map_err(|error| family.fail(error.for_others(family.rank)))?;
        Ok(Self { links: Mutex::new(links), household })
    }

    fn family(&self) -> &Family {
        &self.household.family
    }
}

impl Debug for Tcp {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tcp {{ rank: {}, world: {} }}", self.rank(), self.world())
    }
}

impl Carrier for Tcp {
    const KIND: &'static str = "tcp";

    fn place(&self) -> (usize, usize) {
        (self.family().rank, self.family().world)
    }

    fn exchange(&self, call: Result<Call>, send: &[u8], out: &mut [u8]) -> Result<()> {
        let call = call.inspect_err(|error| drop(self.family().fail(error.for_others(self.rank()))))?;
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.exchange(self.family(), &call, send, out)
    }

    fn fail(&self, reason: &str) {
        self.family().fail(Error::Rank { rank: self.rank(), reason: reason.to_string() });
    }

    fn another(&self) -> Result<Self> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        // Ranks may duplicate several channels at a time, so one of them numbers the new ones.
        let mut channel = if self.rank() == 0 { self.family().next_channel() } else { 0 }.to_le_bytes();
        if self.rank() == 0 {
            links.exchange(self.family(), &Call::duplicate(), &channel, &mut [])?;
        } else {
            links.exchange(self.family(), &Call::duplicate(), &[], &mut channel)?;
        }
        drop(links);
        Self::open(self.household.clone(), u64::from_le_bytes(channel))
    }

    fn fate(&self) -> Result<()> {
        self.family().failure()
    }

    fn sent(&self) -> &Sent {
        &self.family().sent
    }
}
