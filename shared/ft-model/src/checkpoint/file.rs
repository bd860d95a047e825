//! A file that is read at many places at once.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// An open file and its length when it was opened; or a part of one, in memory.
#[derive(Debug)]
pub struct DataFile {
    path: PathBuf,
    source: Source,
    len: u64,
}

#[derive(Debug)]
enum Source {
    File(File),
    Memory(Vec<u8>),
}

impl DataFile {
    /// Opens `path` for reading.
    pub fn open(path: &Path) -> Result<Self> {
        let open = || -> io::Result<(File, u64)> {
            let file = File::open(path)?;
            let len = file.metadata()?.len();
            Ok((file, len))
        };
        let (file, len) = open().map_err(|source| Error::read(path, source))?;
        Ok(Self { path: path.to_path_buf(), source: Source::File(file), len })
    }

    /// The path as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The `len` bytes from `offset` on, where they lie in memory.
    pub fn bytes(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let Source::Memory(bytes) = &self.source else { return None };
        let start = usize::try_from(offset).ok()?;
        bytes.get(start..start.checked_add(len)?)
    }

    /// Fills `out` from `offset` on.
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        self.try_read_at(offset, out).map_err(|source| Error::read(&self.path, source))
    }

    fn try_read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match &self.source {
            Source::File(file) => file.read_exact_at(out, offset),
            Source::Memory(_) => {
                out.copy_from_slice(self.bytes(offset, out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }

    /// The `len` bytes from `offset` on, in memory.
    pub fn part(&self, offset: u64, len: usize) -> Result<Self> {
        let mut bytes = vec![0; len];
        self.read_at(offset, &mut bytes)?;
        Ok(Self::in_memory(&self.path, bytes))
    }

    /// Bytes that came from the file at `path`.
    pub fn in_memory(path: &Path, bytes: Vec<u8>) -> Self {
        Self { path: path.to_path_buf(), len: bytes.len() as u64, source: Source::Memory(bytes) }
    }

    /// A buffered reader from the start.
    pub fn reader(&self) -> Buffered<'_> {
        Buffered { file: self, position: 0, start: 0, bytes: Vec::new() }
    }
}

/// See [`DataFile::reader`].
pub struct Buffered<'a> {
    file: &'a DataFile,
    position: u64,
    /// Where in the file `bytes` begin.
    start: u64,
    bytes: Vec<u8>,
}

/// Bytes that are read at a time.
const BUFFER: u64 = 1 << 18;

impl Read for Buffered<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let end = self.start + self.bytes.len() as u64;
        if self.position < self.start || self.position >= end {
            let len = self.file.len.saturating_sub(self.position).min(BUFFER) as usize;
            self.bytes.resize(len, 0);
            self.file.try_read_at(self.position, &mut self.bytes)?;
            self.start = self.position;
        }
        let available = &self.bytes[(self.position - self.start) as usize..];
        let n = available.len().min(out.len());
        out[..n].copy_from_slice(&available[..n]);
        self.position += n as u64;
        Ok(n)
    }
}
