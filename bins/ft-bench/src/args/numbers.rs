//! Numbers as they are typed.

/// A whole number of at least 1.
/// No size of a run is beyond 32 bits; so products of two fit into 64.
const MOST: usize = u32::MAX as usize;

pub fn positive(text: &str) -> Result<usize, String> {
    let told = || format!("expected a whole number of at least 1, and {MOST} at most");
    text.parse().ok().filter(|n| (1..=MOST).contains(n)).ok_or_else(told)
}

/// A sequence of one token has no label that something before it could predict; an answer of one token is all
/// reading of the prompt.
pub fn at_least_two(text: &str) -> Result<usize, String> {
    let told = || format!("expected a whole number of at least 2, and {MOST} at most");
    text.parse().ok().filter(|n| (2..=MOST).contains(n)).ok_or_else(told)
}
