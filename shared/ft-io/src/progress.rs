//! How far something is, for whoever draws progress bars.

/// Draws progress bars, or not: [`NoProgress`] draws none.
pub trait Progress: Send + Sync {
    /// Something of `units` parts begins; `what` says in a word what it is. It ends when the bar is dropped.
    fn begin(&self, what: &'static str, units: u64) -> Box<dyn ProgressBar>;
}

/// One thing under way.
pub trait ProgressBar {
    /// So many more parts are done.
    fn advance(&self, units: u64);
    /// So many parts are done in all.
    fn set_position(&self, units: u64);
    /// The words behind the figures, such as the current loss.
    fn set_message(&self, message: String);
}

/// No bars.
pub struct NoProgress;

impl Progress for NoProgress {
    fn begin(&self, _: &'static str, _: u64) -> Box<dyn ProgressBar> {
        Box::new(Self)
    }
}

impl ProgressBar for NoProgress {
    fn advance(&self, _: u64) {}

    fn set_position(&self, _: u64) {}

    fn set_message(&self, _: String) {}
}
