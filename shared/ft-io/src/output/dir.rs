//! A folder that appears under its name whole, synced, or not at all.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::{Builder, TempDir};

use super::file::{builder, parent, sync_folder};
use crate::error::Error;

/// Builds a folder beside the target; [`AtomicDir::commit`] syncs it and
/// renames it. Dropped before that, nothing is left.
#[derive(Debug)]
pub struct AtomicDir {
    building: TempDir,
    target: PathBuf,
    named: PathBuf,
}

impl AtomicDir {
    /// Makes the folder to build in, and the folders above it where they are
    /// missing.
    ///
    /// # Errors
    /// [`Error::Write`] if that fails, or `path` is a file.
    pub fn create(path: &Path) -> Result<Self, Error> {
        Self::begin(path).map_err(|source| Error::write(path, source))
    }

    fn begin(path: &Path) -> io::Result<Self> {
        let named = path.to_path_buf();
        let target = fs::canonicalize(path).unwrap_or_else(|_| named.clone());
        if target.exists() && !target.is_dir() {
            let told = "it is a file, expected a folder";
            return Err(io::Error::new(io::ErrorKind::NotADirectory, told));
        }
        fs::create_dir_all(parent(&target))?;
        let building = builder(&target, |prefix, folder| {
            let mut builder = Builder::new();
            builder.prefix(prefix);
            folder_permissions(&mut builder);
            builder.tempdir_in(folder)
        })?;
        Ok(Self { building, target, named })
    }

    /// Fails early where [`AtomicDir::commit`] without `overwrite` would fail
    /// late: `path` exists and holds something.
    ///
    /// # Errors
    /// [`Error::NotEmpty`].
    pub fn require_free(path: &Path) -> Result<(), Error> {
        if is_empty(path) { Ok(()) } else { Err(Error::NotEmpty(path.to_path_buf())) }
    }

    /// The folder to build in.
    pub fn path(&self) -> &Path {
        self.building.path()
    }

    /// Syncs every file, gives the folder its name, and syncs the folder that
    /// holds it. With `overwrite`, what had that name before is removed
    /// afterwards.
    ///
    /// # Errors
    /// [`Error::NotEmpty`] if the target holds something and may not be
    /// overwritten, [`Error::Write`] if the system refuses.
    pub fn commit(self, overwrite: bool) -> Result<(), Error> {
        if !overwrite {
            Self::require_free(&self.target).map_err(|_| Error::NotEmpty(self.named.clone()))?;
        }
        let named = self.named.clone();
        self.end().map_err(|source| Error::write(named, source))
    }

    fn end(self) -> io::Result<()> {
        sync_tree(self.building.path())?;
        let folder = parent(&self.target).to_path_buf();
        let old = if is_empty(&self.target) {
            None
        } else {
            // Out of the way under a name of its own, removed when dropped.
            let old = builder(&self.target, |prefix, folder| Builder::new().prefix(prefix).tempdir_in(folder))?;
            fs::rename(&self.target, old.path().join("old"))?;
            Some(old)
        };
        if let Err(error) = fs::rename(self.building.path(), &self.target) {
            if let Some(old) = &old {
                fs::rename(old.path().join("old"), &self.target)?;
            }
            return Err(error);
        }
        // It has its final name now: nothing to remove any more.
        let _ = self.building.keep();
        sync_folder(&folder)
    }
}

/// Whether `path` does not exist or is a folder without entries.
fn is_empty(path: &Path) -> bool {
    match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => !path.exists(),
    }
}

fn sync_tree(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_folder(folder)
}

#[cfg(unix)]
fn folder_permissions(builder: &mut Builder) {
    use std::os::unix::fs::PermissionsExt;
    builder.permissions(fs::Permissions::from_mode(0o777));
}

#[cfg(not(unix))]
fn folder_permissions(_: &mut Builder) {}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(path: &Path, text: &str) -> AtomicDir {
        let dir = AtomicDir::create(path).unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/a"), text).unwrap();
        dir
    }

    #[test]
    fn appears_at_commit() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("deep/model");
        let dir = build(&path, "1");
        assert!(!path.exists());
        dir.commit(false).unwrap();
        assert_eq!(fs::read(path.join("sub/a")).unwrap(), b"1");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn overwrites_only_when_asked() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("model");
        build(&path, "1").commit(false).unwrap();
        let refused = build(&path, "2").commit(false).unwrap_err();
        assert!(matches!(refused, Error::NotEmpty(_)), "{refused}");
        assert_eq!(fs::read(path.join("sub/a")).unwrap(), b"1");
        build(&path, "3").commit(true).unwrap();
        assert_eq!(fs::read(path.join("sub/a")).unwrap(), b"3");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }
}
