//! What holds between ranks: how they speak, and how sums are cut among them.
//!
//! Nothing outside this crate knows how many ranks there are but through [`Communicator`]:
//!
//! - [`Solo`]: one rank. [`Threads`]: threads of one process.
//! - [`Tcp`]: processes of one machine or many, started by hand, `torchrun`, Slurm or Kubernetes.
//! - `Mpi` (feature `mpi`): processes that `mpirun` started. `Nccl` (feature `cuda`): a GPU a rank.
//!
//! A rank that fails calls [`Communicator::abort`] with its words before it drops its communicator: then every other
//! rank's next or pending call says that rank and those words, within a second. One that ends without it is noticed
//! too, but can only be said to have left.
//!
//! What ranks add up comes out the same for every number of ranks: [`TreeSum`] fixes the order of a sum by its
//! terms' numbers, and [`reduce_scatter_ordered`] keeps that order when the terms are dealt out.
//!
//! This crate never prints, exits or reads the environment.

mod background;
mod call;
mod carrier;
mod collective;
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
pub use collective::Collective;
pub use communicator::{Communicator, MAX_RANKS, Traffic};
pub use error::{Error, Result};
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
#[cfg(feature = "cuda")]
pub use nccl::Nccl;
pub use ordered::{Partial, all_reduce_bytes, all_reduce_ordered, reduce_scatter_bytes, reduce_scatter_ordered};
pub use shares::{share_of_units, shares, shares_of_units};
pub use solo::Solo;
pub use tcp::{JoinOptions, Rendezvous, Tcp};
pub use threads::Threads;
pub use tree::{TreeSum, forest_shape};
pub use typed::{
    agree, any, broadcast, exchange, gather_lists, gather_strings, gather_u64, gather_uneven, gather_uneven_into, max,
    sum,
};
