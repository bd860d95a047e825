//! Standard output: for a result, or for a listing whose reader may go when it has seen enough.

use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

static CLOSED: AtomicBool = AtomicBool::new(false);

/// Whether a write to a [`listing`] found the pipe closed.
pub fn listing_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

/// Standard output without Rust's line buffering.
#[derive(Debug)]
pub struct Stdout {
    raw: Raw,
    is_listing: bool,
}

#[cfg(unix)]
type Raw = Option<std::fs::File>;
#[cfg(not(unix))]
type Raw = Option<io::Stdout>;

/// Opens standard output for a result: where its reader is gone, the result is lost, and that is an error.
pub fn stdout() -> Stdout {
    Stdout { raw: raw(), is_listing: false }
}

/// Opens standard output for lines that a person reads. After a broken pipe a program may end quietly, whatever error it
/// makes of it: `head` has seen enough.
pub fn listing() -> Stdout {
    Stdout { raw: raw(), is_listing: true }
}

/// What stands behind standard output.
pub(crate) fn metadata() -> Option<std::fs::Metadata> {
    #[cfg(unix)]
    return raw()?.metadata().ok();
    #[cfg(not(unix))]
    None
}

/// Whether the process was started without a standard output, as `>&-` does it.
static MISSING: AtomicBool = AtomicBool::new(false);

// Before `main` Rust opens /dev/null where a standard stream is missing, which then takes a result and loses it. This
// runs earlier than that, as part of the process's start; it calls the kernel once and touches nothing else.
#[cfg(unix)]
#[ctor::ctor(unsafe)]
fn look_for_stdout() {
    MISSING.store(rustix::io::fcntl_getfd(rustix::stdio::stdout()).is_err(), Ordering::Relaxed);
}

// The descriptor itself: `io::stdout` would look for line breaks in binary
// data and copy it.
#[cfg(unix)]
fn raw() -> Raw {
    use std::os::fd::AsFd;
    if MISSING.load(Ordering::Relaxed) {
        return None;
    }
    let copy = io::stdout().as_fd().try_clone_to_owned();
    copy.ok().map(std::fs::File::from)
}

#[cfg(not(unix))]
fn raw() -> Raw {
    Some(io::stdout())
}

/// Whether standard output is a pipe that nobody reads any more: what goes there would be lost.
#[cfg(unix)]
pub fn reader_is_gone() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let out = io::stdout();
    let mut fds = [PollFd::new(&out, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&at_once)).is_ok() && fds[0].revents().contains(PollFlags::ERR)
}

#[cfg(not(unix))]
pub fn reader_is_gone() -> bool {
    false
}

impl Stdout {
    fn with<T>(&mut self, call: impl FnOnce(&mut dyn Write) -> io::Result<T>) -> io::Result<T> {
        let result = match &mut self.raw {
            Some(out) => call(out),
            None => Err(io::Error::other("standard output is closed")),
        };
        if self.is_listing
            && let Err(error) = &result
            && error.kind() == ErrorKind::BrokenPipe
        {
            CLOSED.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.with(|out| out.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.with(|out| out.flush())
    }
}
