//! The letters of choices.

/// A choice needs a letter.
pub(crate) const MOST_CHOICES: usize = 26;

/// The letter of a choice, counted from 0: A to Z.
pub fn letter(choice: usize) -> char {
    char::from(b'A' + choice.min(MOST_CHOICES - 1) as u8)
}
