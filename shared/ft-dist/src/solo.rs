//! One rank: nothing to send.

use std::sync::Arc;

use crate::call::Call;
use crate::communicator::{Communicator, Traffic};
use crate::error::Result;

/// The only rank there is.
#[derive(Debug, Default, Clone, Copy)]
pub struct Solo;

impl Communicator for Solo {
    fn rank(&self) -> usize {
        0
    }

    fn world(&self) -> usize {
        1
    }

    fn kind(&self) -> &'static str {
        "solo"
    }

    fn all_gather(&self, mine: &[u8], counts: &[usize], out: &mut [u8]) -> Result<()> {
        Call::all_gather(0, 1, mine, counts, out)?;
        out.copy_from_slice(mine);
        Ok(())
    }

    fn all_to_all(&self, send: &[u8], send_counts: &[usize], recv_counts: &[usize], out: &mut [u8]) -> Result<()> {
        Call::all_to_all(0, 1, send, send_counts, recv_counts, out)?;
        out.copy_from_slice(send);
        Ok(())
    }

    fn broadcast(&self, root: usize, bytes: &mut [u8]) -> Result<()> {
        Call::broadcast(0, 1, root, bytes).map(drop)
    }

    fn barrier(&self) -> Result<()> {
        Ok(())
    }

    /// Nobody is there to be told.
    fn abort(&self, _reason: &str) {}

    fn duplicate(&self) -> Result<Arc<dyn Communicator>> {
        Ok(Arc::new(Self))
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn traffic(&self) -> Traffic {
        Traffic::default()
    }
}
