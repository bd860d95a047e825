//! What llama.cpp cannot have.

use crate::error::Error;

/// The error of a key of `config.json`, or a tensor, and what a file would say instead.
pub(super) fn refused(key: &str, value: impl std::fmt::Display, expected: impl Into<String>) -> Error {
    Error::NotInGguf { key: key.into(), value: value.to_string(), expected: expected.into() }
}
