//! Numbers as they are typed.

/// A whole number of at least 1.
pub fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| "expected a whole number of at least 1".into())
}

/// A sequence of one token has no label that something before it could predict; an answer of one token is all
/// reading of the prompt.
pub fn at_least_two(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 1).ok_or_else(|| "expected a whole number of at least 2".into())
}
