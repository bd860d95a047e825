//! How ranks speak to each other.

/// One rank's door to the others.
///
/// The engine asks it who it is and hands it what must be summed over all ranks; with one rank
/// ([`Solo`]) there is nothing to send.
pub trait Communicator: Send + Sync {
    /// This rank's number, from 0.
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn world(&self) -> usize;

    /// Sums `value` over all ranks; every rank gets the same bits.
    fn all_reduce_counts(&self, value: u64) -> u64;
}

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

    fn all_reduce_counts(&self, value: u64) -> u64 {
        value
    }
}
