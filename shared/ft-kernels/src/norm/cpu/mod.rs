//! The norms over slices, on the CPU.

pub mod layer;
pub mod rms;
pub(crate) mod sums;
