//! A folder that appears under its name whole, synced, or not at all.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::{Builder, TempDir};

use super::file::{builder, sync_folder};
use super::place::{exchange, is_fixed, parent, resolve, works_below};
use crate::error::Error;

/// Builds a folder beside the target; [`AtomicDir::commit`] syncs it and
/// renames it. Dropped before that, nothing is left.
///
/// A target that cannot be renamed (another file system is mounted there, the
/// process works in it, the folder above is not writable) keeps its place: the
/// new files are built in it and take their names one by one.
#[derive(Debug)]
pub struct AtomicDir {
    building: TempDir,
    target: PathBuf,
    named: PathBuf,
    /// Whether it is built in the target itself.
    is_inside: bool,
}

/// Which names of a folder may be replaced.
type Owned<'a> = &'a dyn Fn(&OsStr) -> bool;

/// Refuses to replace what is never a result: the root, `home` or the process's working folder, or a folder above one of
/// the two. A folder that is empty or not there is no such case.
///
/// # Errors
/// [`Error::Irreplaceable`].
pub fn require_replaceable(path: &Path, home: Option<&Path>) -> Result<(), Error> {
    let folder = resolve(path);
    let why = if folder.parent().is_none() {
        "the root of the file system"
    } else if home.is_some_and(|home| resolve(home).starts_with(&folder)) {
        "your home folder, or holds it"
    } else if works_below(&folder) && !is_empty(&folder) {
        "the working folder, or holds it"
    } else {
        return Ok(());
    };
    Err(Error::Irreplaceable { path: path.into(), why })
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
        let target = resolve(path);
        if target.exists() && !target.is_dir() {
            let told = "it is a file, expected a folder";
            return Err(io::Error::new(io::ErrorKind::NotADirectory, told));
        }
        fs::create_dir_all(parent(&target))?;
        if target.is_dir() && is_fixed(&target) {
            return Ok(Self { building: build_in(&target)?, target, named, is_inside: true });
        }
        match build_beside(&target) {
            Ok(building) => Ok(Self { building, target, named, is_inside: false }),
            Err(error) if target.is_dir() && is_refused(&error) => {
                Ok(Self { building: build_in(&target)?, target, named, is_inside: true })
            }
            Err(error) => Err(error),
        }
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
    /// afterwards, all of it: for folders that are the program's own.
    ///
    /// # Errors
    /// [`Error::NotEmpty`] if the target holds something and may not be
    /// overwritten, [`Error::Write`] if the system refuses.
    pub fn commit(self, overwrite: bool) -> Result<(), Error> {
        if !overwrite && self.names_there().next().is_some() {
            return Err(Error::NotEmpty(self.named.clone()));
        }
        self.end(&|_| true)
    }

    /// [`AtomicDir::commit`] over a folder that may hold what others put there: only names for which `owned` says so are
    /// replaced or removed, and all others stay.
    ///
    /// # Errors
    /// [`Error::Foreign`] if a name that is not owned is among the new ones, [`Error::Write`] if the system refuses.
    pub fn commit_over(self, owned: Owned<'_>) -> Result<(), Error> {
        let taken = |name: &OsString| !owned(name) && fs::symlink_metadata(self.path().join(name)).is_ok();
        if let Some(name) = self.names_there().find(taken) {
            return Err(Error::Foreign(self.named.join(name)));
        }
        self.end(owned)
    }

    /// What stands in the target, without the folder that is being built there.
    fn names_there(&self) -> impl Iterator<Item = OsString> {
        let building = self.path().file_name().filter(|_| self.is_inside).map(OsStr::to_owned);
        names(&self.target).filter(move |name| Some(name) != building.as_ref())
    }

    fn end(self, owned: Owned<'_>) -> Result<(), Error> {
        let named = self.named.clone();
        let ended = sync_tree(self.path()).and_then(|()| match (self.is_inside, is_empty(&self.target)) {
            (true, _) => self.end_inside(owned),
            (false, true) => self.appear(),
            (false, false) => self.replace(owned),
        });
        ended.map_err(|source| Error::write(named, source))
    }

    /// Under a name that is free.
    fn appear(self) -> io::Result<()> {
        copy_mode(&self.target, self.path())?;
        fs::rename(self.path(), &self.target)?;
        // It has its final name now: nothing to remove any more.
        let _ = self.building.keep();
        sync_folder(parent(&self.target))
    }

    /// In exchange for the folder that is there. What is not owned is linked into the new one before, so that a file is
    /// never missing; folders, which have no links, move over after.
    fn replace(self, owned: Owned<'_>) -> io::Result<()> {
        copy_mode(&self.target, self.path())?;
        let foreign: Vec<OsString> = self.names_there().filter(|name| !owned(name)).collect();
        let unlinked = |name: &&OsString| fs::hard_link(self.target.join(name), self.path().join(name)).is_err();
        let folders: Vec<&OsString> = foreign.iter().filter(unlinked).collect();
        let (target, old) = (self.target.clone(), self.building);
        let old = if exchange(old.path(), &target)? { old } else { rename_twice(old, &target)? };
        let from = if old.path().join(OLD).is_dir() { old.path().join(OLD) } else { old.path().to_path_buf() };
        for name in folders {
            if let Err(error) = fs::rename(from.join(name), target.join(name)) {
                // It holds what is not ours: better an odd name than a loss.
                let kept = old.keep();
                let told = format!("{error}; what was there before is in '{}'", kept.display());
                return Err(io::Error::new(error.kind(), told));
            }
        }
        sync_folder(&target)?;
        sync_folder(parent(&target))
    }

    /// File by file, after what is owned is gone: a reader finds the old folder, an unfinished one, or the new one, and
    /// never files of both.
    fn end_inside(self, owned: Owned<'_>) -> io::Result<()> {
        for name in self.names_there().filter(|name| owned(name)) {
            let path = self.target.join(name);
            if fs::symlink_metadata(&path)?.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        }
        for name in names(self.path()) {
            fs::rename(self.path().join(&name), self.target.join(&name))?;
        }
        sync_folder(&self.target)
    }
}

/// The name in a temporary folder under which what was replaced waits for its end.
const OLD: &str = "old";

/// Where folders cannot be exchanged: the old one out of the way, then the new one in its place.
fn rename_twice(building: TempDir, target: &Path) -> io::Result<TempDir> {
    let old = builder(target, |prefix, folder| Builder::new().prefix(prefix).tempdir_in(folder))?;
    let aside = old.path().join(OLD);
    fs::rename(target, &aside)?;
    if let Err(error) = fs::rename(building.path(), target) {
        fs::rename(&aside, target)?;
        return Err(error);
    }
    let _ = building.keep();
    Ok(old)
}

fn build_beside(target: &Path) -> io::Result<TempDir> {
    builder(target, temporary_folder)
}

fn build_in(target: &Path) -> io::Result<TempDir> {
    builder(target, |prefix, _| temporary_folder(prefix, target))
}

fn temporary_folder(prefix: &OsStr, folder: &Path) -> io::Result<TempDir> {
    let mut builder = Builder::new();
    builder.prefix(prefix);
    folder_permissions(&mut builder);
    builder.tempdir_in(folder)
}

/// Whether the folder above may not be written.
fn is_refused(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// Gives `to` the mode of `from`, where that is there.
fn copy_mode(from: &Path, to: &Path) -> io::Result<()> {
    match fs::metadata(from) {
        Ok(found) => fs::set_permissions(to, found.permissions()),
        Err(_) => Ok(()),
    }
}

fn names(folder: &Path) -> impl Iterator<Item = OsString> + use<> {
    fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.file_name())
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

    #[test]
    fn what_others_put_there_stays() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("model");
        build(&path, "1").commit(false).unwrap();
        fs::write(path.join("notes.txt"), "mine").unwrap();
        fs::create_dir_all(path.join("deep/er")).unwrap();
        fs::write(path.join("deep/er/a"), "mine").unwrap();
        build(&path, "2").commit_over(&|name| name == "sub").unwrap();
        assert_eq!(fs::read(path.join("sub/a")).unwrap(), b"2");
        assert_eq!(fs::read(path.join("notes.txt")).unwrap(), b"mine");
        assert_eq!(fs::read(path.join("deep/er/a")).unwrap(), b"mine");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
        let error = build(&path, "3").commit_over(&|_| false).unwrap_err();
        assert!(matches!(&error, Error::Foreign(path) if path.ends_with("model/sub")), "{error}");
        assert_eq!(fs::read(path.join("sub/a")).unwrap(), b"2");
    }

    #[test]
    fn a_folder_that_keeps_its_place_is_filled_from_within() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("model");
        build(&path, "1").commit(false).unwrap();
        fs::write(path.join("stale"), "old").unwrap();
        fs::write(path.join("notes.txt"), "mine").unwrap();
        let mut dir = build(&path, "2");
        dir.building = build_in(&path).unwrap();
        dir.is_inside = true;
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/a"), "2").unwrap();
        dir.commit_over(&|name| name != "notes.txt").unwrap();
        assert_eq!(fs::read(path.join("sub/a")).unwrap(), b"2");
        assert_eq!(fs::read(path.join("notes.txt")).unwrap(), b"mine");
        assert_eq!(fs::read_dir(&path).unwrap().count(), 2);
    }

    #[test]
    fn some_folders_are_never_replaced() {
        let home = tempfile::tempdir().unwrap();
        let user = home.path().join("user");
        fs::create_dir_all(user.join("models/a")).unwrap();
        let refused = |path: &Path| require_replaceable(path, Some(&user)).is_err();
        assert!(refused(Path::new("/")) && refused(Path::new("/..")));
        assert!(refused(&user) && refused(home.path()) && refused(&user.join("models/..")));
        assert!(refused(Path::new(".")) && refused(Path::new("..")));
        assert!(!refused(&user.join("models")) && !refused(&user.join("new")));
    }
}
