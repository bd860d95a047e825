//! Norms of rows: root-mean-square, and the layer norm with a mean and a bias.

mod layer;
pub mod reference;
mod rms;
pub(crate) mod sums;

pub use layer::{layer_norm, layer_norm_backward_add};
pub use rms::{rms_norm, rms_norm_backward, rms_norm_backward_add};
