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
    /// An output folder may not be replaced, whatever was asked for.
    #[error("'{}' is {why}, which is never replaced; name another folder", path.display())]
    Irreplaceable {
        /// The folder as the user named it.
        path: PathBuf,
        /// What it is.
        why: &'static str,
    },
    /// An output folder holds something under a name that is to be written, and it is not the program's own.
    #[error("'{}' is there and was not written by this program; move it away, or name another folder", .0.display())]
    Foreign(PathBuf),
    /// An output is an input or another output: exit code 2.
    #[error("{option}: '{name}' would take the place of {other}; name another one")]
    SameFile {
        /// The option that names the output.
        option: String,
        /// The output as the user named it.
        name: String,
        /// What it would take the place of.
        other: String,
    },
    /// Binary output would go to a terminal: exit code 2.
    #[error("refuses to write binary data to a terminal; give -o FILE, or pipe the output")]
    Terminal,
}

impl Error {
    pub(crate) fn write(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Write { path: path.into(), source }
    }
}
