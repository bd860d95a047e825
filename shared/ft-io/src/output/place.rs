//! Where a name leads, and what stands there.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Links that lead to links; as the system has it.
const MOST_LINKS: usize = 40;

/// The path without links and `..`, also of what is not there yet: a link to nothing leads to that name, and below a
/// folder that is missing names stand as they are.
pub(crate) fn resolve(path: &Path) -> PathBuf {
    let mut path = path.to_path_buf();
    for _ in 0..MOST_LINKS {
        if let Ok(whole) = fs::canonicalize(&path) {
            return whole;
        }
        match fs::read_link(&path) {
            Ok(next) => path = parent(&path).join(next),
            Err(_) => break,
        }
    }
    let mut above = path.components();
    let mut missing = Vec::new();
    while let Some(last) = above.next_back() {
        missing.push(last);
        let rest = above.as_path();
        let rest = if rest.as_os_str().is_empty() { Path::new(".") } else { rest };
        if let Ok(whole) = fs::canonicalize(rest) {
            return missing.into_iter().rev().fold(whole, step);
        }
    }
    path
}

fn step(mut path: PathBuf, part: Component<'_>) -> PathBuf {
    match part {
        Component::ParentDir => drop(path.pop()),
        Component::CurDir => {}
        other => path.push(other),
    }
    path
}

/// The folder that holds `path`.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Whether it is there, and neither a file nor a folder nor a pipe: a terminal, `/dev/null`.
pub(crate) fn is_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir() && !is_pipe(&found))
}

#[cfg(unix)]
fn is_pipe(found: &fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    found.file_type().is_fifo()
}

#[cfg(not(unix))]
fn is_pipe(_: &fs::Metadata) -> bool {
    false
}

/// Whether a folder cannot be exchanged for another one: another file system begins there, or this process works in
/// it or below.
pub(super) fn is_fixed(folder: &Path) -> bool {
    is_mount_point(folder) || works_below(folder)
}

/// Whether the process's working folder is `folder` or below it.
pub(super) fn works_below(folder: &Path) -> bool {
    std::env::current_dir().and_then(fs::canonicalize).is_ok_and(|here| here.starts_with(folder))
}

#[cfg(target_os = "linux")]
fn is_mount_point(folder: &Path) -> bool {
    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
    let found = statx(CWD, folder, AtFlags::empty(), StatxFlags::BASIC_STATS);
    found.is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)) || other_device(folder)
}

#[cfg(not(target_os = "linux"))]
fn is_mount_point(folder: &Path) -> bool {
    other_device(folder)
}

#[cfg(unix)]
fn other_device(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::metadata(path).ok().map(|found| found.dev());
    device(folder).is_some() && device(folder) != device(parent(folder))
}

#[cfg(not(unix))]
fn other_device(_: &Path) -> bool {
    false
}

/// Exchanges two folders in one step. False where the file system cannot.
///
/// # Errors
/// Whatever else the system says.
#[cfg(target_os = "linux")]
pub(super) fn exchange(one: &Path, other: &Path) -> io::Result<bool> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(true),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn exchange(_: &Path, _: &Path) -> io::Result<bool> {
    Ok(false)
}
