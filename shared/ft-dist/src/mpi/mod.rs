//! Ranks as processes that `mpirun` started, on one machine or many.

mod family;
mod pipe;
mod raw;

use std::fmt::{Debug, Formatter};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ::mpi::Threading;
use ::mpi::environment::initialize_with_threading;
use ::mpi::topology::Communicator as _;

use crate::call::Call;
use crate::carrier::Carrier;
use crate::communicator::{Communicator, Sent};
use crate::error::{Error, Result};
use crate::transfer::{Exchange, Fault, Peer};
use family::Family;
use pipe::MpiPipe;
use raw::Comm;

/// How long the last bytes of a rank that said goodbye may take.
const LAST_BYTES: Duration = Duration::from_millis(300);

/// One of several ranks that `mpirun` started.
///
/// Who speaks when a rank fails: this crate prints nothing. [`abort`](Communicator::abort) tells the other ranks and
/// returns, so that the program says on stderr what went wrong and ends with a code that is not 0; `mpirun` then ends
/// the others, whose own words (the same cause, with this rank's number) may or may not get out. A program that has
/// not ended five seconds after a failure is ended by `MPI_Abort`, with all ranks. A process that dies without a
/// word is noticed by `mpirun`, which ends the others.
///
/// The last communicator must be dropped on the thread that called [`Mpi::from_environment`], before `main` returns:
/// that ends MPI, and waits for all ranks.
pub struct Mpi {
    // Dropped first: a channel is freed before MPI ends.
    links: Mutex<Links>,
    family: Arc<Family>,
}

/// The streams of one channel.
struct Links {
    comm: Arc<Comm>,
    pipes: Vec<Option<MpiPipe>>,
    calls: u64,
}

impl Mpi {
    /// Starts MPI. Once a process; without `mpirun` there is one rank. No byte is waited for longer than `timeout`.
    ///
    /// # Errors
    /// [`Error::Setup`] if MPI was started before, or lacks MPI_THREAD_MULTIPLE.
    pub fn from_environment(timeout: Duration) -> Result<Arc<dyn Communicator>> {
        let Some((universe, threading)) = initialize_with_threading(Threading::Multiple) else {
            return Err(Error::Setup("MPI was started in this process before; it can be started once".into()));
        };
        if threading < Threading::Multiple {
            let text =
                format!("this MPI gives threads {threading:?}, but Multiple is needed: use Open MPI 4 or MPICH 4");
            return Err(Error::Setup(text));
        }
        let world = universe.world();
        let (control, comm) = (Comm::new(world.duplicate()), Comm::new(world.duplicate()));
        let family = Arc::new(Family::new(universe, control, timeout));
        Ok(Arc::new(Self::on(family, comm)))
    }

    fn on(family: Arc<Family>, comm: Comm) -> Self {
        let comm = Arc::new(comm);
        let pipe = |rank| (rank != family.rank).then(|| MpiPipe::new(comm.clone(), rank));
        let pipes = (0..family.world).map(pipe).collect();
        Self { links: Mutex::new(Links { comm, pipes, calls: 0 }), family }
    }
}

impl Links {
    fn exchange(&mut self, family: &Family, call: &Call, send: &[u8], out: &mut [u8]) -> Result<()> {
        family.failure()?;
        let exchange = Exchange::new(family.rank, family.world, call, self.calls);
        self.calls += 1;
        let mut peers = exchange.peers(&mut self.pipes, send, out);
        let (mut moved, mut idle) = (Instant::now(), 0);
        loop {
            let mut waiting = Vec::with_capacity(peers.len());
            for mut peer in peers {
                let (done, advanced) = advance(&mut peer).map_err(|fault| failed(family, call, peer.rank, fault))?;
                if advanced {
                    (moved, idle) = (Instant::now(), 0);
                }
                if !done {
                    waiting.push(peer);
                }
            }
            peers = waiting;
            if peers.is_empty() {
                break;
            }
            family.failure()?;
            late(family, call, &peers, moved)?;
            pause(idle);
            idle += 1;
        }
        family.sent.add(call.collective, call.sent_by(family.rank, family.world));
        Ok(())
    }
}

/// Moves what can be moved; whether all is done, and whether anything moved.
fn advance(peer: &mut Peer<'_, MpiPipe>) -> Result<(bool, bool), Fault> {
    let moved = peer.advance()?;
    Ok((peer.is_done() && peer.pipe.is_flushed()?, moved))
}

fn failed(family: &Family, call: &Call, rank: usize, fault: Fault) -> Error {
    family.fail(match fault {
        Fault::Pipe => {
            Error::Rank { rank, reason: format!("MPI carries nothing to or from it at {}", call.collective) }
        }
        Fault::Call(error) => error,
    })
}

/// Whether the others have gone, or nothing has moved for too long.
fn late(family: &Family, call: &Call, peers: &[Peer<'_, MpiPipe>], moved: Instant) -> Result<()> {
    let waited = moved.elapsed();
    if waited > LAST_BYTES
        && let Some(peer) = peers.iter().find(|peer| family.is_gone(peer.rank))
    {
        let reason = format!("it left while others waited for it at {}", call.collective);
        return Err(family.fail(Error::Rank { rank: peer.rank, reason }));
    }
    if waited > family.timeout {
        let ranks = peers.iter().map(|peer| peer.rank).collect();
        return Err(family.fail(Error::Timeout { ranks, collective: call.collective, waited: family.timeout }));
    }
    Ok(())
}

/// MPI has nothing to sleep on: look again at once at first, then less and less often, so that others get the cores.
fn pause(idle: u32) {
    match idle {
        0..50 => std::hint::spin_loop(),
        50..100 => thread::yield_now(),
        _ => thread::sleep(Duration::from_micros(u64::from(idle).min(200))),
    }
}

impl Debug for Mpi {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mpi {{ rank: {}, world: {} }}", self.family.rank, self.family.world)
    }
}

impl Carrier for Mpi {
    const KIND: &'static str = "mpi";

    fn place(&self) -> (usize, usize) {
        (self.family.rank, self.family.world)
    }

    fn exchange(&self, call: Result<Call>, send: &[u8], out: &mut [u8]) -> Result<()> {
        let call = call.inspect_err(|error| drop(self.family.fail(error.for_others(self.family.rank))))?;
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.exchange(&self.family, &call, send, out)
    }

    fn fail(&self, reason: &str) {
        self.family.fail(Error::Rank { rank: self.family.rank, reason: reason.to_string() });
    }

    fn another(&self) -> Result<Self> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        // MPI's own duplication waits without end, so first make sure that everybody is here for it.
        let mut number = [0; size_of::<u64>()];
        let (send, out): (&[u8], &mut [u8]) =
            if self.family.rank == 0 { (&[0; 8], &mut []) } else { (&[], &mut number) };
        links.exchange(&self.family, &Call::duplicate(), send, out)?;
        Ok(Self::on(self.family.clone(), links.comm.duplicate()))
    }

    fn fate(&self) -> Result<()> {
        self.family.failure()
    }

    fn sent(&self) -> &Sent {
        &self.family.sent
    }
}
