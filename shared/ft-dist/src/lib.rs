//! What holds between ranks: how they speak, and how sums are cut among them.
//!
//! Nothing outside this crate knows how many ranks there are but through [`Communicator`].

mod communicator;
mod tree;

pub use communicator::{Communicator, Solo};
pub use tree::TreeSum;
