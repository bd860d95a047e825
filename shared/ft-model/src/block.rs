//! One decoder block, its forward and backward written out, for every family.
//!
//! Attention and MLP each read the residual stream, through a norm or not, and are added to it, through a norm or
//! not. What costs no matrix product to compute again (norms, rotations of normalised heads, gated activations) is never
//! kept; what else backward needs is [`Kept`], and may be dropped and computed again by a second forward.

mod attention;
mod backward;
mod bias_sums;
mod forward;
mod kept;
mod mixture;
mod mlp;
mod mlp_backward;
mod parts;

pub use attention::{Attended, Attention, WithoutCache, attention_spec};
pub use kept::{Kept, kept_bytes_per_token};
pub use parts::{Adapted, Block, Products, Rows};
