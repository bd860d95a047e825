//! One way from the collectives of [`Communicator`] to whatever carries their bytes.

use std::fmt::Debug;
use std::sync::Arc;

use crate::call::Call;
use crate::communicator::{Communicator, Sent, Traffic};
use crate::error::Result;

/// One rank's channel that does whatever collective it is handed. What it does is a [`Communicator`].
pub(crate) trait Carrier: Debug + Send + Sync + Sized + 'static {
    /// See [`Communicator::kind`].
    const KIND: &'static str;

    /// This rank's number, and how many ranks there are.
    fn place(&self) -> (usize, usize);

    /// Does one collective, or tells everybody that this call of mine is wrong in itself. `send` holds this rank's
    /// bytes, `out` has room for those of the others and, but for a root's, for its own.
    ///
    /// # Errors
    /// The call's own; and if a rank fails, is too late or calls something else.
    fn exchange(&self, call: Result<Call>, send: &[u8], out: &mut [u8]) -> Result<()>;

    /// See [`Communicator::abort`].
    fn fail(&self, reason: &str);

    /// See [`Communicator::duplicate`].
    ///
    /// # Errors
    /// As there.
    fn another(&self) -> Result<Self>;

    /// See [`Communicator::check`].
    ///
    /// # Errors
    /// As there.
    fn fate(&self) -> Result<()>;

    /// The counters of this channel and its duplicates.
    fn sent(&self) -> &Sent;
}

impl<C: Carrier> Communicator for C {
    fn rank(&self) -> usize {
        self.place().0
    }

    fn world(&self) -> usize {
        self.place().1
    }

    fn kind(&self) -> &'static str {
        C::KIND
    }

    fn all_gather(&self, mine: &[u8], counts: &[usize], out: &mut [u8]) -> Result<()> {
        let (rank, world) = self.place();
        self.exchange(Call::all_gather(rank, world, mine, counts, out), mine, out)
    }

    fn all_to_all(&self, send: &[u8], send_counts: &[usize], recv_counts: &[usize], out: &mut [u8]) -> Result<()> {
        let (rank, world) = self.place();
        self.exchange(Call::all_to_all(rank, world, send, send_counts, recv_counts, out), send, out)
    }

    fn broadcast(&self, root: usize, bytes: &mut [u8]) -> Result<()> {
        let (rank, world) = self.place();
        let call = Call::broadcast(rank, world, root, bytes);
        if rank == root { self.exchange(call, bytes, &mut []) } else { self.exchange(call, &[], bytes) }
    }

    fn barrier(&self) -> Result<()> {
        self.exchange(Ok(Call::barrier()), &[], &mut [])
    }

    fn abort(&self, reason: &str) {
        self.fail(reason);
    }

    fn duplicate(&self) -> Result<Arc<dyn Communicator>> {
        Ok(Arc::new(self.another()?))
    }

    fn check(&self) -> Result<()> {
        self.fate()
    }

    fn traffic(&self) -> Traffic {
        self.sent().read()
    }
}
