//! A file that appears under its name whole, synced, or not at all.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, TempPath};

use super::place::{parent, resolve};
use crate::error::Error;
use crate::fifo;

/// Writes to a temporary file beside the target; [`AtomicFile::commit`] syncs
/// it and renames it, with the mode that the file before had. Dropped before
/// that, nothing is left.
///
/// A target that exists and is no regular file (`/dev/null`, a named pipe) is
/// written directly, for there is nothing to rename over. The open of a named
/// pipe waits for its reader, or for a signal.
#[derive(Debug)]
pub struct AtomicFile {
    file: File,
    /// None where the target is written directly.
    temporary: Option<TempPath>,
    /// Where it ends up; symbolic links followed.
    target: PathBuf,
    /// As the user named it, for messages.
    named: PathBuf,
}

impl AtomicFile {
    /// Opens the temporary file beside `path`.
    ///
    /// # Errors
    /// [`Error::Write`] if the folder does not exist or may not be written,
    /// or `path` is a folder.
    pub fn create(path: &Path) -> Result<Self, Error> {
        Self::begin(path).map_err(|source| Error::write(path, source))
    }

    fn begin(path: &Path) -> io::Result<Self> {
        let named = path.to_path_buf();
        let target = resolve(path);
        let before = match fs::metadata(path) {
            Ok(found) if found.is_dir() => {
                let told = "it is a folder, expected a file";
                return Err(io::Error::new(io::ErrorKind::IsADirectory, told));
            }
            Ok(found) if !found.is_file() => {
                let file = fifo::open_to_write(path)?;
                return Ok(Self { file, temporary: None, target, named });
            }
            Ok(found) => Some(found.permissions()),
            Err(_) => None,
        };
        let (file, temporary) = builder(&target, |prefix, folder| {
            let mut builder = Builder::new();
            builder.prefix(prefix);
            // What replaces a private file is private from its first byte.
            if before.is_none() {
                open_permissions(&mut builder);
            }
            builder.tempfile_in(folder)
        })?
        .into_parts();
        if let Some(before) = before {
            file.set_permissions(before)?;
        }
        Ok(Self { file, temporary: Some(temporary), target, named })
    }

    /// Fails where [`AtomicFile::create`] would, and leaves nothing: for an output that is opened late, after a long
    /// input. Pipes and devices are left alone, since an open is seen at their other end.
    ///
    /// # Errors
    /// As [`AtomicFile::create`].
    pub fn check(path: &Path) -> Result<(), Error> {
        match fs::metadata(path) {
            Ok(found) if !found.is_file() && !found.is_dir() => Ok(()),
            _ => Self::create(path).map(drop),
        }
    }

    /// The path as given to [`AtomicFile::create`].
    pub fn path(&self) -> &Path {
        &self.named
    }

    /// The open file, for writers that know beforehand where each part goes.
    pub fn as_file(&self) -> &File {
        &self.file
    }

    /// Where its bytes are until [`AtomicFile::commit`]; none where the target is written directly.
    pub fn temporary(&self) -> Option<&Path> {
        self.temporary.as_deref()
    }

    /// Syncs the file, gives it its name and syncs the folder.
    ///
    /// # Errors
    /// [`Error::Write`] with what the system said; then nothing is left.
    pub fn commit(self) -> Result<(), Error> {
        let named = self.named.clone();
        self.end().map_err(|source| Error::write(named, source))
    }

    fn end(mut self) -> io::Result<()> {
        self.file.flush()?;
        let Some(temporary) = self.temporary.take() else {
            return Ok(());
        };
        self.file.sync_all()?;
        match temporary.persist(&self.target) {
            Ok(()) => sync_folder(parent(&self.target)),
            // A file that is mounted on its own, as containers have them, is the one place for its content.
            Err(failed) if failed.error.kind() == io::ErrorKind::ResourceBusy => {
                fs::copy(&failed.path, &self.target)?;
                File::open(&self.target)?.sync_all()
            }
            Err(failed) => Err(failed.error),
        }
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// Calls `make` with the prefix `.NAME.tmp-` and the folder of `target`.
pub(super) fn builder<T>(target: &Path, make: impl FnOnce(&std::ffi::OsStr, &Path) -> io::Result<T>) -> io::Result<T> {
    let name = target
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file or folder"))?;
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(name);
    prefix.push(".tmp-");
    make(&prefix, parent(target)).map_err(without_temporary_name)
}

/// The system's words without the temporary name, which tells the user
/// nothing.
fn without_temporary_name(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => match error.kind() {
            io::ErrorKind::NotFound => io::Error::new(io::ErrorKind::NotFound, "its folder does not exist"),
            _ => error,
        },
    }
}

/// Makes a rename in `folder` survive a power cut.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Temporary files are for their owner only; results are what the umask says.
#[cfg(unix)]
pub(super) fn open_permissions(builder: &mut Builder) {
    use std::os::unix::fs::PermissionsExt;
    builder.permissions(fs::Permissions::from_mode(0o666));
}

#[cfg(not(unix))]
pub(super) fn open_permissions(_: &mut Builder) {}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn appears_at_commit_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.bin");
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"hello").unwrap();
        assert!(!path.exists());
        file.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"hello");
        assert_eq!(names(folder.path()), ["out.bin"]);
    }

    #[test]
    fn dropped_leaves_nothing_and_keeps_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.bin");
        fs::write(&path, "old").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["out.bin"]);
    }

    #[test]
    #[cfg(unix)]
    fn the_mode_of_a_replaced_file_is_kept_and_its_link_followed() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("out.bin"), folder.path().join("link"));
        fs::write(&path, "old").unwrap();
        symlink("out.bin", &link).unwrap();
        for mode in [0o600, 0o640, 0o755, 0o444] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let mut file = AtomicFile::create(&link).unwrap();
            file.write_all(b"new").unwrap();
            file.commit().unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode);
            assert_eq!(fs::read(&path).unwrap(), b"new");
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        }
        symlink("later.bin", folder.path().join("dangling")).unwrap();
        AtomicFile::create(&folder.path().join("dangling")).unwrap().commit().unwrap();
        assert!(folder.path().join("later.bin").is_file());
        assert!(fs::symlink_metadata(folder.path().join("dangling")).unwrap().is_symlink());
    }

    #[test]
    fn a_device_is_written_directly() {
        let mut file = AtomicFile::create(Path::new("/dev/null")).unwrap();
        file.write_all(b"x").unwrap();
        file.commit().unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn a_missing_folder_is_told_without_the_temporary_name() {
        let error = AtomicFile::create(Path::new("/no/such/out.bin")).unwrap_err();
        let Error::Write { source, .. } = &error else {
            panic!("{error}");
        };
        assert!(!source.to_string().contains("tmp-"), "{source}");
        assert_eq!(error.to_string(), "cannot write '/no/such/out.bin'");
    }
}
