//! One run at a time in an output folder.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::error::{Context, Error, Result};

/// Held for as long as the run lasts; the system releases it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code, reason = "it is held, not used")] File);

/// Locks the folder itself, so that no file is left behind.
///
/// # Errors
/// If another run holds it.
pub fn lock(folder: &Path) -> Result<Lock> {
    let file = File::open(folder).with_context(|| format!("cannot read '{}'", folder.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Error::Output(format!(
                "another run is writing to '{}'; wait for it, or give another folder",
                folder.display()
            )));
        }
        // Some network file systems lock no folders; a run there is better than none.
        Err(TryLockError::Error(error)) => {
            tracing::warn!("'{}' cannot be locked ({error}); see that no other run writes to it", folder.display());
        }
    }
    Ok(Lock(file))
}
