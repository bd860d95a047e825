//! Kernels of our own on a GPU: how operators call those of `kernels/`.
//!
//! An operator's `cuda.rs` says which kernel runs over which tensors in how many blocks ([`Launch`]); where the tensors lie
//! says what runs it. On a CUDA device that is the driver (feature `cuda`); in the host's memory it is the emulation of
//! `kernels/host/` (feature `cuda-host`), which runs the same kernels, compiled for the host, and checks every access. So
//! all but the instructions themselves is tested without a GPU.

#[cfg(feature = "cuda")]
mod gpu;
#[cfg(feature = "cuda-host")]
pub mod host;
mod launch;
mod memory;
#[cfg(feature = "cuda-host")]
mod probe;

pub(crate) use launch::{Grid, Launch, block_of, parts};
pub(crate) use memory::{Output, aligned, words};
#[cfg(feature = "cuda-host")]
pub use probe::probe;
