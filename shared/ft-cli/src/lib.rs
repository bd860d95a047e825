//! What every `ft` program does alike: arguments, logging, progress, exit
//! codes, signals, atomic output and provenance.
//!
//! A program's `main` is one line:
//!
//! ```no_run
//! #[derive(clap::Parser)]
//! struct Args {
//!     #[command(flatten)]
//!     common: ft_cli::Common,
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     ft_cli::run("ft-demo", |args: &Args| &args.common, |_args| Ok(()))
//! }
//! ```
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted. A failure is
//! one line on stderr. Whatever goes to stdout goes through
//! [`output::Stdout`], so that a reader that closes the pipe early ends the
//! program quietly.

mod chain;
mod common;
mod device;
mod digest;
mod error;
pub mod input;
pub mod interrupt;
mod load_in;
mod logging;
pub mod output;
mod progress;
mod provenance;
mod run;
mod size;

pub use common::{Common, LogFormat};
pub use device::{DeviceArgs, DeviceName};
pub use digest::{HashingReader, Sha256, sha256_file, sha256_hex};
pub use error::{Error, Interrupted, Usage};
pub use input::Source;
pub use load_in::{FourBitArgs, LoadAs, LoadIn, QuantType};
pub use logging::{quiet_process, quiet_thread};
pub use output::{AtomicDir, AtomicFile, Target};
pub use progress::{Progress, hide_progress, progress};
pub use provenance::{InputDigest, Provenance, typed_arguments};
pub use run::run;
pub use size::bytes;
