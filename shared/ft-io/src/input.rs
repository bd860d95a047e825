//! Where rows and weights come from: a path, or `-` for standard input.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::fifo;

/// An input as the user named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file.
    Path(PathBuf),
    /// Standard input.
    Stdin,
}

impl Source {
    /// `-` is standard input, anything else a path.
    pub fn parse(text: impl AsRef<OsStr>) -> Self {
        let text = text.as_ref();
        if text == "-" { Self::Stdin } else { Self::Path(text.into()) }
    }

    /// The name for messages: the path as given, or `standard input`.
    pub fn name(&self) -> String {
        match self {
            Self::Path(path) => path.display().to_string(),
            Self::Stdin => "standard input".into(),
        }
    }

    /// The name for provenance: the file's name without its folder, or `-`.
    pub fn file_name(&self) -> String {
        match self {
            Self::Path(path) => path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
            Self::Stdin => "-".into(),
        }
    }

    /// The path, unless it is standard input.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Stdin => None,
        }
    }

    /// Opens it for reading from the start, unbuffered.
    ///
    /// # Errors
    /// [`Error::Read`] if there is no such file, it may not be read, or it is
    /// a folder.
    pub fn open(&self) -> Result<Box<dyn Read + Send>, Error> {
        match self {
            Self::Path(_) => Ok(Box::new(self.open_file()?)),
            Self::Stdin => Ok(Box::new(io::stdin())),
        }
    }

    /// Opens it as a file; standard input through its descriptor, which seeks
    /// only where the shell connected a file. The open of a named pipe waits
    /// until something is written to it, or for a signal.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub fn open_file(&self) -> Result<File, Error> {
        let opened = match self {
            Self::Path(path) => fifo::open_to_read(path).and_then(refuse_folder),
            Self::Stdin => stdin_file(),
        };
        opened.map_err(|source| Error::Read { name: self.name(), source })
    }
}

fn refuse_folder(file: File) -> io::Result<File> {
    if file.metadata()?.is_dir() {
        let told = "it is a folder, expected a file";
        return Err(io::Error::new(io::ErrorKind::IsADirectory, told));
    }
    Ok(file)
}

#[cfg(unix)]
pub(crate) fn stdin_file() -> io::Result<File> {
    use std::os::fd::AsFd;
    Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

#[cfg(not(unix))]
pub(crate) fn stdin_file() -> io::Result<File> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

impl From<OsString> for Source {
    fn from(text: OsString) -> Self {
        Self::parse(text)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dash_is_standard_input() {
        assert_eq!(Source::parse("-"), Source::Stdin);
        assert_eq!(Source::parse("a/b.csv").file_name(), "b.csv");
        assert_eq!(Source::Stdin.file_name(), "-");
    }

    #[test]
    fn a_folder_is_refused_by_name() {
        let error = Source::parse("/").open().err().unwrap();
        assert_eq!(error.to_string(), "cannot read '/'");
    }
}
