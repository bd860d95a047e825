//! A file without a name that holds what does not fit into memory.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Zeros at first; it goes away with the process.
///
/// It is read and written in pieces, not mapped: the process's memory is then what it asked for, and a full disk is
/// an error, not a signal.
#[derive(Debug)]
pub(crate) struct PageFile {
    /// Where it lies, for messages.
    folder: PathBuf,
    /// What it holds, for messages.
    what: &'static str,
    file: File,
}

impl PageFile {
    /// A file of so many bytes, which grows where more is written.
    pub fn create(folder: &Path, what: &'static str, bytes: u64) -> Result<Self> {
        let create = || {
            let file = tempfile::tempfile_in(folder)?;
            file.set_len(bytes)?;
            Ok(file)
        };
        let file = create().map_err(|source| Error::write(folder.join(format!("({what})")), source))?;
        Ok(Self { folder: folder.to_path_buf(), what, file })
    }

    fn name(&self) -> PathBuf {
        self.folder.join(format!("({})", self.what))
    }

    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        let failed = |source| Error::read(self.name(), source);
        self.file.read_exact_at(bytes, offset).map_err(failed)
    }

    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let failed = |source| Error::write(self.name(), source);
        self.file.write_all_at(bytes, offset).map_err(failed)
    }
}
