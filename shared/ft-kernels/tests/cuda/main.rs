//! The kernels of `kernels/` against the references: on a GPU in a build for one (feature `cuda`), on the emulation of the
//! host otherwise (feature `cuda-host`), there under several orders of blocks and threads.

#![cfg(any(feature = "cuda", feature = "cuda-host"))]

mod activation;
mod attention;
mod common;
mod dropout;
mod expand;
#[cfg(feature = "cuda-host")]
mod faults;
mod linear;
mod loss;
mod norms;
mod residual;
mod rope;
mod rows;
