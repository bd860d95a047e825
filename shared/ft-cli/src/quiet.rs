//! Threads and processes that keep what they have to tell to themselves.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

static QUIET_PROCESS: AtomicBool = AtomicBool::new(false);

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Keeps what this thread tells below an error to itself, and its progress bars: for ranks that only repeat what the
/// first one says.
pub fn quiet_thread() {
    QUIET.set(true);
}

/// [`quiet_thread`] for all threads.
pub fn quiet_process() {
    QUIET_PROCESS.store(true, Ordering::Relaxed);
}

/// Whether what this thread tells is kept back.
pub(crate) fn is_quiet() -> bool {
    QUIET.get() || QUIET_PROCESS.load(Ordering::Relaxed)
}
