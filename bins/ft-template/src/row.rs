//! A finished row, and why there is none.

use ft_text::{Encoded, Error};

use crate::parts::Parts;

/// A finished row.
#[derive(Debug, Default)]
pub struct Row {
    pub text: String,
    pub tokens: Encoded,
    pub labels: Vec<i32>,
    pub reference: Option<String>,
    /// Tokens that were cut off or taken out.
    pub lost: usize,
    /// The token that something learned ends in although it is no end token.
    pub open_end: Option<String>,
    pub parts: Parts,
}

/// Why a conversation gave no row.
#[derive(Debug)]
pub enum Reject {
    /// It has more tokens than are allowed.
    Overlong { tokens: usize },
    /// None of its tokens would be learned.
    Unlabelled,
    /// The template refused it, or its answers cannot be located.
    Bad(String),
    /// The template or the tokenizer is at fault, not the row.
    Fatal(Error),
}

impl Reject {
    pub fn of(error: Error) -> Self {
        match error {
            Error::Template(_) | Error::PrefixDiffers { .. } | Error::PromptDiffers { .. } => {
                Self::Bad(error.to_string())
            }
            other => Self::Fatal(other),
        }
    }
}
