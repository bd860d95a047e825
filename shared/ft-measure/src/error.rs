//! The one error type of this crate.

/// What can go wrong between rows or questions and their figures.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A table of rows, prompts or questions cannot be read.
    #[error(transparent)]
    Table(#[from] ft_table::Error),
    /// Text cannot be rendered, encoded or decoded, or tokens were made with another tokenizer.
    #[error(transparent)]
    Text(#[from] ft_text::Error),
    /// The model cannot take a row, or fails on it.
    #[error(transparent)]
    Model(#[from] ft_model::Error),
    /// An error that belongs to an input, a row or a question: `place` says which.
    #[error("{place}")]
    At {
        /// The input, with its row or line where it is one.
        place: String,
        /// What is wrong with it.
        source: Box<Error>,
    },
    /// An input, or one row of it, is not what it should be.
    #[error("{place}: {message}")]
    Content {
        /// The input, with its row or line where it is one.
        place: String,
        /// What was expected, what was found, what to do.
        message: String,
    },
}

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// What is not as it should be, where.
    pub(crate) fn content(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Content { place: place.into(), message: message.into() }
    }

    /// A figure of a row or question that is not a number.
    pub(crate) fn not_finite(place: impl Into<String>, what: &str, value: f64) -> Self {
        let told = "expected a finite number; are all weights of the model and the adapter finite?";
        Self::content(place, format!("{what} is {value}, {told}"))
    }

    /// This error, as one of `place`.
    pub(crate) fn at(self, place: impl Into<String>) -> Self {
        Self::At { place: place.into(), source: Box::new(self) }
    }
}
