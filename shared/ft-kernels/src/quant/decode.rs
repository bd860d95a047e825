//! Blocks of codes as numbers, sixteen at a time, in registers.

use crate::simd::Simd;

/// Blocks that become numbers in units: of each format one, which all that reads blocks is compiled for.
pub(crate) trait Decode: Copy + Send + Sync {
    /// Numbers of a unit: whole vectors.
    const UNIT: usize;

    /// Calls `each` with the vectors of unit number `number`, in their order, and their places in the unit. What stands in
    /// lanes past the last number is anything.
    fn unit<S: Simd>(self, s: S, number: usize, each: impl FnMut(usize, S::V));

    /// For numbers of the row that begins at number `start` alone.
    #[inline(always)]
    fn of_row(self, _start: usize) -> Self {
        self
    }
}

/// The numbers of the longest unit.
pub(super) const LONGEST_UNIT: usize = 256;

/// What is done with blocks, whatever their format.
pub(crate) trait OnBlocks {
    /// What it gives.
    type Output;
    /// Does it with blocks of one format.
    fn with<D: Decode>(self, blocks: D) -> Self::Output;
}
