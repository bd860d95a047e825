//! The scales of four-bit blocks, as what reads the blocks finds them.

use super::absmax::{Absmax, Second};

/// The scales of four-bit blocks.
#[derive(Clone, Copy, Debug)]
pub enum Scales<'a> {
    Plain(&'a [f32]),
    /// The same as bytes of a file, wherever they lie.
    Stored(&'a [[u8; 4]]),
    /// In 8 bits, and what they are expanded with.
    Nested {
        codes: &'a [u8],
        second: &'a Second,
    },
}

impl<'a> From<&'a Absmax> for Scales<'a> {
    fn from(absmax: &'a Absmax) -> Self {
        match absmax {
            Absmax::Plain(values) => Scales::Plain(values),
            Absmax::Nested(nested) => Scales::Nested { codes: nested.codes(), second: nested.second() },
        }
    }
}

impl Scales<'_> {
    /// The number of scales.
    pub(super) fn len(&self) -> usize {
        match self {
            Scales::Plain(values) => values.len(),
            Scales::Stored(values) => values.len(),
            Scales::Nested { codes, .. } => codes.len(),
        }
    }

    /// Scale number `i`.
    #[inline(always)]
    pub(super) fn of(&self, i: usize) -> f32 {
        match self {
            Scales::Plain(values) => values[i],
            Scales::Stored(values) => f32::from_le_bytes(values[i]),
            Scales::Nested { codes, second } => second.one(i, codes[i]),
        }
    }
}
