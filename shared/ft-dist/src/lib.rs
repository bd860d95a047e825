//! What holds between ranks: how they speak, and how sums are cut among them.
//!
//! Nothing outside this crate knows how many ranks there are but through [`Communicator`].

mod background;
mod call;
mod communicator;
mod error;
#[cfg(feature = "mpi")]
mod mpi;
#[cfg(feature = "cuda")]
mod nccl;
mod ordered;
mod shares;
mod solo;
mod tcp;
mod threads;
mod transfer;
mod tree;
mod typed;

pub use background::{Background, Handle};
pub use communicator::{Collective, Communicator, Traffic};
pub use error::{Error, Result};
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
#[cfg(feature = "cuda")]
pub use nccl::Nccl;
pub use ordered::{Partial, all_reduce_bytes, all_reduce_ordered, reduce_scatter_bytes, reduce_scatter_ordered};
pub use shares::{shares, shares_of_units};
pub use solo::Solo;
pub use tcp::{Rendezvous, Tcp};
pub use threads::Threads;
pub use tree::{TreeSum, forest_shape};
pub use typed::{
    agree, any, broadcast, exchange, gather_lists, gather_strings, gather_u64, gather_uneven, gather_uneven_into, max,
    sum,
};
