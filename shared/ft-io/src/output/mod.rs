//! Where results go: a file that appears whole or not at all, or stdout.

mod dir;
mod file;
mod place;
mod stdout;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

pub use dir::{AtomicDir, require_replaceable};
pub use file::AtomicFile;
pub(crate) use place::{is_device, resolve};
pub(crate) use stdout::metadata as stdout_metadata;
pub use stdout::{Stdout, listing, listing_closed, reader_is_gone, stdout};

use crate::error::Error;

/// An output as the user named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file, or a folder where the program writes one.
    Path(PathBuf),
    /// Standard output.
    Stdout,
}

impl Target {
    /// `-` is standard output, anything else a path.
    pub fn parse(text: impl AsRef<OsStr>) -> Self {
        let text = text.as_ref();
        if text == "-" { Self::Stdout } else { Self::Path(text.into()) }
    }

    /// The target of binary output: `given`, or stdout where `-o` is absent.
    ///
    /// # Errors
    /// [`Error::Terminal`] if that is stdout and a terminal.
    pub fn binary(given: Option<Self>) -> Result<Self, Error> {
        let target = given.unwrap_or(Self::Stdout);
        if target == Self::Stdout && io::stdout().is_terminal() {
            return Err(Error::Terminal);
        }
        Ok(target)
    }

    /// The name for messages: the path as given, or `standard output`.
    pub fn name(&self) -> String {
        match self {
            Self::Path(path) => path.display().to_string(),
            Self::Stdout => "standard output".into(),
        }
    }

    /// The path, unless it is standard output.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Stdout => None,
        }
    }

    /// Opens it for writing. Nothing is there under its name before
    /// [`Output::commit`].
    ///
    /// # Errors
    /// [`Error::Write`] if the folder does not exist or may not be written.
    pub fn create(&self) -> Result<Output, Error> {
        Ok(match self {
            Self::Path(path) => Output::File(AtomicFile::create(path)?),
            Self::Stdout => Output::Stdout(stdout()),
        })
    }
}

impl From<OsString> for Target {
    fn from(text: OsString) -> Self {
        Self::parse(text)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// An open [`Target`]: unbuffered, sequential.
#[derive(Debug)]
pub enum Output {
    /// A file beside its final name.
    File(AtomicFile),
    /// Standard output.
    Stdout(Stdout),
}

impl Output {
    /// Ends the output: syncs and renames a file, flushes stdout.
    ///
    /// # Errors
    /// [`Error::Write`] with what the system said.
    pub fn commit(self) -> Result<(), Error> {
        match self {
            Self::File(file) => file.commit(),
            Self::Stdout(mut out) => out.flush().map_err(|source| Error::write("standard output", source)),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Stdout(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Stdout(out) => out.flush(),
        }
    }
}
