//! Matrix products whose rows do not know their neighbours.
//!
//! `C = A·B` or `C += A·B` in f32, where `A` is f32 and `B` is f32, bf16, f16 or blocks of few bits (widened
//! while it is packed, so a frozen matrix is never stored twice). The scheme is that of
//! Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008):
//! blocks of the inner dimension, packed panels, and a small kernel held in registers.
//!
//! **The same bits.** Every element of `C` is a sum over blocks of the inner dimension,
//! each block one chain of fused multiply-adds in rising order of `k`. The length of a block
//! depends on `k` alone ([`block_length`]). So an element's bits depend on its row of `A`, its
//! column of `B` and nothing else: not on the number of rows or columns beside it, not on
//! the number of threads, and not on the vector width of the processor.
//!
//! What is added to a product while its last block is at hand is its [`Tail`].

mod blocks;
mod mat;
mod micro;
mod multiply;
mod pack;
mod product;
pub mod reference;
mod tail;
#[cfg(test)]
mod tests;
mod turn;

pub use self::blocks::BlockMat;
pub use self::mat::{Mat, MatMut, Rhs};
pub(crate) use self::multiply::matmul_part;
pub use self::multiply::{instruction_set, matmul};
pub(crate) use self::tail::{Part, Tail};

/// The longest block of the inner dimension: a panel of `A` of this length fits the first cache.
const LONGEST_BLOCK: usize = 384;
/// Rows packed at a time, so that the packed rows stay in the last cache.
const ROWS_AT_A_TIME: usize = 2048;
/// Blocks of the inner dimension between two meetings of the threads.
const BLOCKS_AT_A_TIME: usize = 8;
/// Panels of `B` that a task packs at a time, so that they stay in its second-level cache.
const PANELS_A_TILE: usize = 8;
/// Up to this many panels of `B`, packing `A` costs more than reading it where it lies.
const PANELS_WITHOUT_PACKING: usize = 2;
/// Below this many multiply-adds waking other threads costs more than they save, where the caller is one of the
/// pool's own threads.
const WORTH_THREADS: usize = 1 << 21;
/// The same for any other caller, who hands everything over and must be woken in the end.
const WORTH_HANDING_OVER: usize = 1 << 24;

/// The length of the blocks that an inner dimension of `k` is cut into; a function of `k` alone.
pub fn block_length(k: usize) -> usize {
    let blocks = k.div_ceil(LONGEST_BLOCK).max(1);
    k.div_ceil(blocks).next_multiple_of(8).max(8)
}
