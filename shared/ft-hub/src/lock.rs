//! One download of a repository at a time.

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use ft_io::interrupt;

use crate::error::{Error, Result};

/// Held until it is dropped; the system lets go of it where the process ends.
#[derive(Debug)]
pub(crate) struct Lock(#[allow(dead_code, reason = "it is held, not used")] File);

/// Waits until nobody else downloads this repository.
///
/// # Errors
/// If the folder cannot be written, or a signal comes.
pub(crate) fn lock(repository: &Path) -> Result<Lock> {
    fs::create_dir_all(repository).map_err(|source| Error::Cache { path: repository.into(), source })?;
    let path = repository.join(".ft.lock");
    let file = File::create(&path).map_err(|source| Error::Cache { path: path.clone(), source })?;
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                interrupt::check()?;
                sleep(Duration::from_millis(200));
            }
            // Some network file systems lock nothing; hf-hub has a lock of its own for each file.
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(Lock(file)),
        }
    }
}
