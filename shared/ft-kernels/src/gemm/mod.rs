//! Matrix products whose rows do not know their neighbours.
//!
//! `C = A·B` or `C += A·B` in f32, where `A` is f32 and `B` is f32, bf16 or f16 (widened
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

mod mat;
mod micro;
mod pack;
mod product;
pub mod reference;
mod tail;
#[cfg(test)]
mod tests;

pub use self::mat::{Mat, MatMut, Rhs};
use self::micro::Kernels;
pub(crate) use self::pack::{widen_bf16, widen_f16};
use self::product::Product;
pub(crate) use self::tail::{Part, Tail};
use crate::simd::Isa;

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

/// The instructions that the products run on here: `avx512`, `avx2` or `plain`.
pub fn instruction_set() -> &'static str {
    micro::kernels(Isa::best()).name
}

/// `c = a·b`, or `c += a·b` where `accumulate` is set, on the kernels of an instruction set: the bits are those of any.
///
/// Shapes: `a` `[m, k]`, `b` `[k, n]`, `c` `[m, n]`.
///
/// # Panics
/// Where the shapes do not fit together: that is a fault of the program, not of its input.
pub fn matmul(isa: Isa, a: Mat<'_, f32>, b: Rhs<'_>, c: &mut MatMut<'_>, accumulate: bool) {
    matmul_part(isa, a, b, c, accumulate, block_length(a.cols), &Tail::default());
}

/// [`matmul`] with blocks of the inner dimension of `step` elements, and a tail. A product in parts of its inner
/// dimension, each but the last a multiple of the whole one's [`block_length`], has the whole one's bits.
///
/// # Panics
/// As [`matmul`].
pub(crate) fn matmul_part(
    isa: Isa,
    a: Mat<'_, f32>,
    b: Rhs<'_>,
    c: &mut MatMut<'_>,
    accumulate: bool,
    step: usize,
    tail: &Tail<'_>,
) {
    let (k, n) = b.shape();
    assert!(
        a.cols == k && c.rows == a.rows && c.cols == n,
        "product of [{}, {}] and [{k}, {n}] into [{}, {}]",
        a.rows,
        a.cols,
        c.rows,
        c.cols
    );
    tail.check(c.rows, n);
    if a.rows == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if !accumulate {
            c.rows_mut().for_each(|row| row.fill(0.0));
        }
        return tail.apply(isa, c);
    }
    let worth = if rayon::current_thread_index().is_some() { WORTH_THREADS } else { WORTH_HANDING_OVER };
    let threads = if a.rows * n * k < worth { 1 } else { rayon::current_num_threads() };
    matmul_with(micro::kernels(isa), threads, a, b, c, accumulate, step, tail);
}

/// [`matmul_part`] of shapes that are checked and not empty, on these kernels.
fn matmul_with(
    kernels: &'static Kernels,
    threads: usize,
    a: Mat<'_, f32>,
    b: Rhs<'_>,
    c: &mut MatMut<'_>,
    accumulate: bool,
    step: usize,
    tail: &Tail<'_>,
) {
    let (k, n) = b.shape();
    let in_place = n <= PANELS_WITHOUT_PACKING * kernels.cols;
    let blocks = if in_place { 0 } else { k.div_ceil(step).min(BLOCKS_AT_A_TIME) };
    let room = a.rows.min(ROWS_AT_A_TIME).next_multiple_of(kernels.rows) * step * blocks;
    // SAFETY: `pack_rows` writes the rows of a panel over the length of a block, and `lhs` hands out no more than that.
    let mut packed = unsafe { crate::tensor::unwritten(room) };
    for first in (0..a.rows).step_by(ROWS_AT_A_TIME) {
        let rows = ROWS_AT_A_TIME.min(a.rows - first);
        Product { kernels, a, b, first, rows, threads, step, in_place, tail }.run(c, accumulate, &mut packed);
    }
}
