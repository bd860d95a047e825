//! Exchanges that run while the rank computes.

use std::fmt::{Debug, Formatter};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

use crate::communicator::Communicator;
use crate::error::{Error, Result};

/// A thread that does collectives on a channel of its own, one after the other in the order of the calls, which is
/// the same on all ranks. So the next layer's weights are on their way while this layer computes.
///
/// When it is dropped the thread stops: what it has not begun is not done any more, and its handle says
/// [`Error::Stopped`].
pub struct Background {
    queue: Option<Sender<Job>>,
    state: Arc<State>,
    worker: Option<JoinHandle<()>>,
}

type Job = Box<dyn FnOnce(&dyn Communicator) + Send>;

#[derive(Default)]
struct State {
    stopped: AtomicBool,
    /// Jobs that were queued and are not done.
    pending: AtomicUsize,
}

/// The result of a job of [`Background`], once it is there.
#[derive(Debug)]
pub struct Handle<T> {
    result: Receiver<Result<T>>,
}

impl<T> Handle<T> {
    /// Waits for the result.
    ///
    /// # Errors
    /// What the job met, or [`Error::Stopped`] if it was never begun.
    pub fn wait(self) -> Result<T> {
        self.result.recv().unwrap_or(Err(Error::Stopped))
    }
}

impl Background {
    /// Duplicates the communicator, so all ranks call it together, and starts the thread.
    ///
    /// # Errors
    /// If the communicator cannot be duplicated, or the system gives no thread.
    pub fn new(ranks: &dyn Communicator) -> Result<Self> {
        let ranks = ranks.duplicate()?;
        let (queue, jobs) = channel::<Job>();
        let state = Arc::new(State::default());
        let seen = state.clone();
        let work = move || {
            for job in jobs {
                if seen.stopped.load(Ordering::Acquire) {
                    break;
                }
                job(&*ranks);
            }
        };
        let spawned = thread::Builder::new().name("ft-dist background".into()).spawn(work);
        let worker = spawned.map_err(Error::io("cannot start the background thread"))?;
        Ok(Self { queue: Some(queue), state, worker: Some(worker) })
    }

    /// Queues [`Communicator::all_gather`]. `mine` is handed over whole (a `Vec`, an `Arc<[u8]>`, …), and the
    /// handle gives all ranks' bytes end to end.
    pub fn all_gather(&self, mine: impl AsRef<[u8]> + Send + 'static, counts: Vec<usize>) -> Handle<Vec<u8>> {
        self.all_gather_into(mine, counts, Vec::new())
    }

    /// [`all_gather`](Self::all_gather) to the memory of `spare`, whose content is lost: a buffer that was used
    /// before costs no page faults.
    pub fn all_gather_into(
        &self,
        mine: impl AsRef<[u8]> + Send + 'static,
        counts: Vec<usize>,
        spare: Vec<u8>,
    ) -> Handle<Vec<u8>> {
        self.submit(move |ranks| {
            let mut out = spare;
            out.resize(counts.iter().sum(), 0);
            ranks.all_gather(mine.as_ref(), &counts, &mut out)?;
            Ok(out)
        })
    }

    /// Queues any work with the thread's own channel.
    pub fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Communicator) -> Result<T> + Send + 'static,
    ) -> Handle<T> {
        let (sender, result): (SyncSender<Result<T>>, _) = sync_channel(1);
        let state = self.state.clone();
        state.pending.fetch_add(1, Ordering::AcqRel);
        let job: Job = Box::new(move |ranks| {
            let result = work(ranks);
            // First: whoever has the result may drop the thread, and should find it idle.
            state.pending.fetch_sub(1, Ordering::AcqRel);
            // Nobody may wait for the result any more; that is no fault.
            drop(sender.send(result));
        });
        // Where the thread is gone the job is dropped, and the handle says so.
        drop(self.queue.as_ref().map(|queue| queue.send(job)));
        Handle { result }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::Release);
        self.queue = None;
        // A job under way waits for other ranks, maybe as long as the timeout: then the thread ends by itself.
        if self.state.pending.load(Ordering::Acquire) == 0
            && let Some(worker) = self.worker.take()
        {
            drop(worker.join());
        }
    }
}

impl Debug for Background {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Background").finish_non_exhaustive()
    }
}
