//! SIGINT and SIGTERM ask; the program finishes its step, saves and leaves.
//! A second signal ends it at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::error::Interrupted;

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Whether SIGINT or SIGTERM came.
pub fn requested() -> bool {
    FLAG.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// For loops: an error with exit code 130 once a signal came.
///
/// # Errors
/// [`Interrupted`] after SIGINT or SIGTERM.
pub fn check() -> Result<(), Interrupted> {
    if requested() { Err(Interrupted) } else { Ok(()) }
}

/// Catches the signals; a system that refuses keeps its default, which ends
/// the process.
pub fn install() {
    let flag = FLAG.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the conditional exit sees the flag as it was
        // before this signal, so only the second one ends the process.
        let registered = flag::register_conditional_shutdown(signal, 130, Arc::clone(flag))
            .and_then(|_| flag::register(signal, Arc::clone(flag)));
        if let Err(error) = registered {
            tracing::debug!("signal {signal} is not caught: {error}");
        }
    }
}
