//! Models by their names on the Hugging Face Hub: out of the local cache, or downloaded into it.
//!
//! The cache is huggingface_hub's own (`models--org--name/` with `refs`, `snapshots` and `blobs`), so what either has
//! downloaded the other finds. A model that is there whole is taken as it is, and nothing is asked of the network.

mod cache;
mod digest;
mod download;
mod error;
mod files;
mod hub;
mod lock;
mod model;
mod name;

pub use error::{Error, Result};
pub use hub::Hub;
pub use name::Name;
