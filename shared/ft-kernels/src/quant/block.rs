//! How eight bits an element are laid out, and what they stand for.

/// Elements of a block.
pub(super) const BLOCK: usize = 32;
/// Bytes of a block: the scale as an f16, then the elements.
pub(super) const BYTES: usize = 34;
/// A block's bytes.
pub(super) type Q8Block = [u8; BYTES];

/// What a code of 1 stands for, in a row with the scale 1.
pub(super) const STEP: f32 = 1.0 / 127.0;
