//! How programs meet their files: sources, targets, files and folders that appear whole or not at all, digests,
//! provenance, the signals that ask a program to stop, and the header of GGUF files, which several crates read.
//!
//! Whatever goes to stdout goes through [`output::Stdout`]: as a result, which must arrive, or as a listing, whose reader
//! may go.

mod caught;
mod digest;
mod distinct;
mod error;
mod fifo;
pub mod gguf;
mod hub_name;
pub mod input;
pub mod interrupt;
mod labels;
mod named;
pub mod output;
pub mod progress;
mod provenance;
mod size;

pub use caught::caught;
pub use digest::{HashingReader, Sha256, sha256_file, sha256_hex};
pub use distinct::Distinct;
pub use error::{Error, Interrupted};
pub use hub_name::{hub_name, model_name};
pub use input::Source;
pub use labels::IGNORE_INDEX;
pub use named::NamedValue;
pub use output::{AtomicDir, AtomicFile, Target};
pub use provenance::{InputDigest, Provenance};
pub use size::bytes;
