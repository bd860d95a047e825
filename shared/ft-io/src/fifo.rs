//! Named pipes: an open that waits for the other end, and that the first signal ends.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::interrupt;

/// How long to wait for the other end before a look at the signals.
const PATIENCE: Duration = Duration::from_millis(50);

/// Opens a file for reading; of a named pipe, waits until something was written or its writer is gone.
pub(crate) fn open_to_read(path: &Path) -> io::Result<File> {
    if is_fifo(path) { read_end(path) } else { File::open(path) }
}

/// Opens what is there for writing; of a named pipe, waits for a reader.
pub(crate) fn open_to_write(path: &Path) -> io::Result<File> {
    if is_fifo(path) { write_end(path) } else { File::options().write(true).open(path) }
}

fn interrupted() -> io::Result<()> {
    // Not `Interrupted`, after which readers try again.
    interrupt::check().map_err(io::Error::other)
}

#[cfg(unix)]
fn is_fifo(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    path.metadata().is_ok_and(|found| found.file_type().is_fifo())
}

#[cfg(unix)]
fn read_end(path: &Path) -> io::Result<File> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use std::os::unix::fs::OpenOptionsExt;
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let patience = Timespec { tv_sec: 0, tv_nsec: PATIENCE.subsec_nanos().into() };
    loop {
        interrupted()?;
        let mut ends = [PollFd::new(&file, PollFlags::IN)];
        match poll(&mut ends, Some(&patience)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return blocking(file),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(unix)]
fn write_end(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    loop {
        interrupted()?;
        match File::options().write(true).custom_flags(flags).open(path) {
            // Nobody reads yet.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
                std::thread::sleep(PATIENCE);
            }
            Err(error) => return Err(error),
            Ok(file) => return blocking(file),
        }
    }
}

/// From here on reads and writes wait as they do everywhere.
#[cfg(unix)]
fn blocking(file: File) -> io::Result<File> {
    let flags = rustix::fs::fcntl_getfl(&file)?;
    rustix::fs::fcntl_setfl(&file, flags - rustix::fs::OFlags::NONBLOCK)?;
    Ok(file)
}

#[cfg(not(unix))]
fn is_fifo(_: &Path) -> bool {
    false
}

#[cfg(not(unix))]
fn read_end(path: &Path) -> io::Result<File> {
    File::open(path)
}

#[cfg(not(unix))]
fn write_end(path: &Path) -> io::Result<File> {
    File::options().write(true).open(path)
}
