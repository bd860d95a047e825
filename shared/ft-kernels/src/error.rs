//! What can go wrong in an operator.

/// A failed operator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// candle refused an operation, or a tensor is not what the operator can read.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),

    /// Two arguments do not fit each other.
    #[error("{operator}: {argument} is {found}, expected {expected}")]
    Shape {
        /// The operator that was called.
        operator: &'static str,
        /// The argument that does not fit.
        argument: &'static str,
        /// What would fit, given the other arguments.
        expected: String,
        /// What was passed.
        found: String,
    },

    /// A device that is not there.
    #[error("there is no device cuda:{ordinal}: {reason}")]
    NoDevice {
        /// Its number, from 0.
        ordinal: usize,
        /// What is missing.
        reason: String,
    },

    /// A target token lies outside the vocabulary.
    #[error("cross-entropy: row {row} has the target {target}, but the vocabulary has {vocabulary} entries")]
    Target {
        /// The row of the logits.
        row: usize,
        /// Its target.
        target: u32,
        /// The number of columns of the logits.
        vocabulary: usize,
    },
}

/// The result of an operator.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An argument whose shape does not fit the others.
    pub(crate) fn shape(
        operator: &'static str,
        argument: &'static str,
        expected: impl std::fmt::Debug,
        found: impl std::fmt::Debug,
    ) -> Self {
        Self::Shape { operator, argument, expected: format!("{expected:?}"), found: format!("{found:?}") }
    }
}

/// So that `?` also works in functions that return candle's results.
impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Tensor(inner) => inner,
            other => candle_core::Error::wrap(other),
        }
    }
}

/// Fails unless `condition` holds for an argument's shape.
pub(crate) fn expect_shape(
    condition: bool,
    operator: &'static str,
    argument: &'static str,
    expected: impl std::fmt::Debug,
    found: impl std::fmt::Debug,
) -> Result<()> {
    if condition { Ok(()) } else { Err(Error::shape(operator, argument, expected, found)) }
}
