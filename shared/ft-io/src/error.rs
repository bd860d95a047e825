//! Errors between a program and its files.

use std::io;
use std::path::PathBuf;

/// A signal asked the program to stop: exit code 130.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// What goes wrong between a program and its files.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An input cannot be opened or is a folder.
    #[error("cannot read '{name}'")]
    Read {
        /// The input as the user named it.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// An output, or the temporary file beside it, cannot be made or written.
    #[error("cannot write '{}'", path.display())]
    Write {
        /// The output as the user named it.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An output folder holds something and may not be replaced.
    #[error("'{}' is not empty; name another folder, or ask for it to be overwritten", .0.display())]
    NotEmpty(PathBuf),
    /// Binary output would go to a terminal: exit code 2.
    #[error("refuses to write binary data to a terminal; give -o FILE, or pipe the output")]
    Terminal,
}

impl Error {
    pub(crate) fn write(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Write { path: path.into(), source }
    }
}
