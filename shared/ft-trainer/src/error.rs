//! What can go wrong between a run's options and its output.

use std::error::Error as StdError;
use std::fmt;

/// A run that cannot begin, go on, or be kept. Every cause is told by [`StdError::source`], the outermost first.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Options contradict each other, the model, the device or the number of rows.
    #[error("{0}")]
    Options(String),

    /// Rows that cannot be trained on: the file, the row, what was found, what to do.
    #[error("{0}")]
    Rows(String),

    /// A checkpoint, or the record of a run, that this run cannot go on from.
    #[error("{0}")]
    Checkpoint(String),

    /// An output that another run writes or left, or that has no reader any more.
    #[error("{0}")]
    Output(String),

    /// A loss or a metric that is no number, or not there.
    #[error("{0}")]
    Metric(String),

    /// A failure that the options asked for, to see what the ranks make of it.
    #[error("step {0}: a failure that was asked for")]
    Injected(u64),

    /// A signal asked the run to stop.
    #[error("{0}")]
    Interrupted(#[from] ft_io::Interrupted),

    /// A file cannot be read or written.
    #[error("{0}")]
    Files(#[from] ft_io::Error),

    /// The table of rows cannot be read.
    #[error("{0}")]
    Table(#[from] ft_table::Error),

    /// The model, the adapter or the optimizer.
    #[error("{0}")]
    Model(#[from] ft_model::Error),

    /// An operator or its device.
    #[error("{0}")]
    Operator(#[from] ft_kernels::Error),

    /// The tokenizer's files.
    #[error("{0}")]
    Text(#[from] ft_text::Error),

    /// The other ranks, or the way to them.
    #[error("{0}")]
    Ranks(#[from] ft_dist::Error),

    /// The system refused something; who asked for it says what.
    #[error("{0}")]
    System(#[from] std::io::Error),

    /// JSON that is not what it should be; who read it says where.
    #[error("{0}")]
    Json(#[from] serde_json::Error),

    /// A plot cannot be drawn.
    #[error("{0}")]
    Plot(#[from] ft_plot::Error),

    /// What a caller's observer or store of checkpoints could not do.
    #[error("{0}")]
    Caller(Box<dyn StdError + Send + Sync>),

    /// A cause, and what was being done when it came.
    #[error("{place}")]
    At {
        /// The file, the rows or the step.
        place: String,
        /// What is wrong there.
        source: Box<Error>,
    },
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// What an observer, or a store of checkpoints, of the caller's could not do.
    pub fn caller(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Caller(cause.into())
    }

    /// This error, at that place.
    pub(crate) fn at(self, place: impl fmt::Display) -> Self {
        Self::At { place: place.to_string(), source: Box::new(self) }
    }

    /// Whether it is no failure, but what a signal asked for.
    pub fn is_interrupt(&self) -> bool {
        match self {
            Self::Interrupted(_) => true,
            Self::At { source, .. } => source.is_interrupt(),
            _ => false,
        }
    }
}

/// Says where an error happened.
pub(crate) trait Context<T> {
    /// The same result; its error says `place`.
    fn with_context<P: fmt::Display>(self, place: impl FnOnce() -> P) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn with_context<P: fmt::Display>(self, place: impl FnOnce() -> P) -> Result<T> {
        self.map_err(|error| error.into().at(place()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupt_is_known_through_what_was_being_done() {
        let stop = Err::<(), _>(ft_io::Interrupted).with_context(|| "the evaluation").unwrap_err();
        assert!(stop.is_interrupt() && !Error::Injected(3).is_interrupt());
        assert_eq!(stop.source().unwrap().to_string(), "interrupted");
    }
}
