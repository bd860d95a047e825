//! What every `ft` program does alike at the keyboard: arguments, logging, progress, exit codes.
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
//! one line on stderr. A result that goes to stdout goes
//! through [`ft_io::output::stdout`], and must arrive; a reader that closes the pipe of a
//! [`ft_io::output::listing`] ends the program quietly.

mod chain;
mod common;
mod device;
mod error;
mod home;
mod hub;
mod load_in;
mod logging;
mod named;
mod program;
mod progress;
mod quiet;
mod run;
mod typed;

pub use common::{Common, LogFormat};
pub use device::DeviceArgs;
pub use error::Usage;
pub use home::home;
pub use load_in::FourBitArgs;
pub use named::named_value;
pub use program::Program;
pub use progress::{Bars, Progress, hide_progress, progress};
pub use quiet::{quiet_process, quiet_thread};
pub use run::run;
pub use typed::typed_arguments;
