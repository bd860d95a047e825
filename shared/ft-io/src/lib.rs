//! How programs meet their files: sources, targets, files and folders that appear whole or not at all, digests,
//! provenance, and the signals that ask a program to stop.
//!
//! Whatever goes to stdout goes through [`output::Stdout`], which remembers whether its reader went away.

mod digest;
mod error;
pub mod input;
pub mod interrupt;
mod named;
pub mod output;
pub mod progress;
mod provenance;
mod size;

pub use digest::{HashingReader, Sha256, sha256_file, sha256_hex};
pub use error::{Error, Interrupted};
pub use input::Source;
pub use named::NamedValue;
pub use output::{AtomicDir, AtomicFile, Target};
pub use provenance::{InputDigest, Provenance};
pub use size::bytes;
