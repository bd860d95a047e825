//! The user's home folder.

use std::path::PathBuf;

/// The folder that no program replaces as a whole; none where the system names none.
pub fn home() -> Option<PathBuf> {
    std::env::home_dir().filter(|home| !home.as_os_str().is_empty())
}
