//! Tokens and where they begin.

/// The tokens of a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Their ids.
    pub ids: Vec<u32>,
    /// The first byte of each in the text, ascending. A token's leading space is part
    /// of it.
    pub starts: Vec<u32>,
}
