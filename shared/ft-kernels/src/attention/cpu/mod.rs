//! Attention over slices, on the CPU.

mod backward;
mod decode;
mod forward;
mod pack;

pub use backward::attention_backward;
pub use decode::attention_decode;
pub use forward::attention;
