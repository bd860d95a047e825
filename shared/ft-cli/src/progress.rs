//! Progress bars for people: on stderr, and only when that is a terminal.

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

static WANTED: AtomicBool = AtomicBool::new(false);
static BARS: OnceLock<MultiProgress> = OnceLock::new();

/// Called once by [`crate::run`]: whether the user wants bars at all.
pub(crate) fn configure(wanted: bool) {
    WANTED.store(wanted && std::io::stderr().is_terminal(), Ordering::Relaxed);
}

/// Draws no bars from now on, as `disable_tqdm` asks.
pub fn hide_progress() {
    WANTED.store(false, Ordering::Relaxed);
}

/// Runs `write` with the bars out of the way, so that a log line does not
/// tear one.
pub(crate) fn suspend<R>(write: impl FnOnce() -> R) -> R {
    match BARS.get() {
        Some(bars) => bars.suspend(write),
        None => write(),
    }
}

/// A progress bar, or nothing where nobody would see it. Dropping it takes it
/// off the screen.
#[derive(Debug)]
pub struct Progress(ProgressBar);

/// Draws the bars of a library's work where there is a terminal to see them.
#[derive(Debug, Clone, Copy)]
pub struct Bars;

impl ft_io::progress::Progress for Bars {
    fn begin(&self, what: &'static str, units: u64) -> Box<dyn ft_io::progress::ProgressBar> {
        Box::new(progress(Some(units), what))
    }
}

impl ft_io::progress::ProgressBar for Progress {
    fn advance(&self, units: u64) {
        self.inc(units);
    }

    fn set_position(&self, units: u64) {
        Self::set_position(self, units);
    }

    fn set_message(&self, message: String) {
        Self::set_message(self, message);
    }
}

/// Begins a progress bar of `len` units (a spinner without a length), labelled
/// `what`.
pub fn progress(len: Option<u64>, what: &str) -> Progress {
    if !WANTED.load(Ordering::Relaxed) || crate::quiet::is_quiet() {
        return Progress(ProgressBar::hidden());
    }
    let bars = BARS.get_or_init(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)));
    let bar = bars.add(match len {
        Some(len) => ProgressBar::new(len),
        None => ProgressBar::new_spinner(),
    });
    let template = if len.is_some() {
        "{prefix} {wide_bar:.cyan} {human_pos}/{human_len} {per_sec} {eta} {msg}"
    } else {
        "{prefix} {spinner} {human_pos} {per_sec} {elapsed} {msg}"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    Progress(bar)
}

impl Progress {
    /// Counts `n` more units done.
    pub fn inc(&self, n: u64) {
        self.0.inc(n);
    }

    /// Sets how many units are done.
    pub fn set_position(&self, position: u64) {
        self.0.set_position(position);
    }

    /// Sets or corrects the number of units in all.
    pub fn set_length(&self, len: u64) {
        self.0.set_length(len);
    }

    /// Sets the words after the figures, such as the current loss.
    pub fn set_message(&self, message: impl Into<String>) {
        self.0.set_message(message.into());
    }

    /// Takes the bar off the screen.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}
