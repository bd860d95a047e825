//! SIGINT, SIGTERM and SIGHUP (a closed terminal) ask; the program finishes its
//! step, saves and leaves with exit code 130, whichever it was. A second SIGINT
//! or SIGTERM ends it at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::error::Interrupted;

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
/// Whether a signal came that is not SIGINT.
static ENDING: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Whether SIGINT, SIGTERM or SIGHUP came.
pub fn requested() -> bool {
    FLAG.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// Whether all that came was SIGINT, which ends what a person waits for, where other signals end the program.
pub fn is_only_sigint() -> bool {
    requested() && !ENDING.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// Takes note of SIGINT, so that the program may go on; of other signals there is no going on.
pub fn clear_sigint() {
    if is_only_sigint()
        && let Some(flag) = FLAG.get()
    {
        flag.store(false, Ordering::Relaxed);
    }
}

/// For loops: an error with exit code 130 once a signal came.
///
/// # Errors
/// [`Interrupted`] after SIGINT, SIGTERM or SIGHUP.
pub fn check() -> Result<(), Interrupted> {
    if requested() { Err(Interrupted) } else { Ok(()) }
}

/// Catches the signals; a system that refuses keeps its default, which ends
/// the process.
pub fn install() {
    let flag = FLAG.get_or_init(Arc::default);
    // Before the flag, so that whoever sees that knows which signal it was.
    let ending = ENDING.get_or_init(Arc::default);
    for signal in [SIGTERM, SIGHUP] {
        if (signal != SIGHUP || !is_ignored(SIGHUP))
            && let Err(error) = flag::register(signal, Arc::clone(ending))
        {
            tracing::debug!("signal {signal} is not caught: {error}");
        }
    }
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the conditional exit sees the flag as it was
        // before this signal, so only the second one ends the process.
        let registered = flag::register_conditional_shutdown(signal, 130, Arc::clone(flag))
            .and_then(|_| flag::register(signal, Arc::clone(flag)));
        if let Err(error) = registered {
            tracing::debug!("signal {signal} is not caught: {error}");
        }
    }
    // A closing terminal may send it twice, and under nohup it is to be ignored.
    if !is_ignored(SIGHUP)
        && let Err(error) = flag::register(SIGHUP, Arc::clone(flag))
    {
        tracing::debug!("signal {SIGHUP} is not caught: {error}");
    }
}

/// Whether who started the process had it ignore a signal, as Linux tells it.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or_default();
    u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask >> (signal - 1) & 1 == 1)
}
