//! Maps files into memory: the one module outside the kernels and the bindings that needs `unsafe`.
#![allow(unsafe_code)]

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::{Mmap, UncheckedAdvice};

use crate::error::{Error, Result};

/// A file mapped for reading.
pub struct MappedFile {
    map: Mmap,
    path: PathBuf,
}

impl MappedFile {
    /// Maps a whole file.
    ///
    /// # Errors
    /// If it cannot be opened or mapped.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::read(path, e))?;
        // SAFETY: the map is only read. Should another process cut the file short meanwhile, reading it raises
        // SIGBUS, as for every program that maps its weights; model files are replaced by renaming, not rewritten.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::read(path, e))?;
        Ok(Self { map, path: path.to_owned() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Gives the pages of a range back to the system; the next read fetches them from the file again.
    /// A kindness only: where the system refuses, nothing is wrong.
    pub fn release(&self, range: Range<usize>) {
        // SAFETY: dropping pages of a shared read-only map of a file loses nothing: they are read again on access.
        let _ = unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len()) };
    }
}
