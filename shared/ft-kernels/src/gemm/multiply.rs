//! A product, and what follows it: checked, and dealt to as many threads as it is worth.

use super::micro::{self, Kernels};
use super::product::Product;
use super::tail::{Part, Tail, Touch, add_masked};
use super::{
    BLOCKS_AT_A_TIME, Mat, MatMut, PANELS_WITHOUT_PACKING, ROWS_AT_A_TIME, Rhs, WORTH_HANDING_OVER, WORTH_THREADS,
    block_length,
};
use crate::simd::Isa;
use crate::tensor::unwritten;

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
pub(super) fn matmul_with(
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
    let mut packed = unsafe { unwritten(room) };
    for first in (0..a.rows).step_by(ROWS_AT_A_TIME) {
        let rows = ROWS_AT_A_TIME.min(a.rows - first);
        Product { kernels, a, b, first, rows, threads, step, in_place, tail }.run(c, accumulate, &mut packed);
    }
}

impl Tail<'_> {
    /// Does all of it to a result that is there, one part after the other.
    ///
    /// # Panics
    /// Where a part does not fit.
    pub fn apply(&self, isa: Isa, c: &mut MatMut<'_>) {
        self.check(c.rows, c.cols);
        let touch = |c: &mut MatMut<'_>, touch: Option<Touch<'_>>| {
            if let Some(touch) = touch {
                c.rows_mut().enumerate().for_each(|(i, row)| touch(i, self.first, row));
            }
        };
        touch(c, self.before);
        for &Part { left, right, column, mask } in &self.parts {
            let mut c = c.cols_of(column, right.cols);
            let Some(mask) = mask else {
                matmul(isa, left, Rhs::F32(right), &mut c, true);
                continue;
            };
            // SAFETY: a product that is not added to what is there writes every element.
            let mut sums = unsafe { unwritten(c.rows * c.cols) };
            matmul(isa, left, Rhs::F32(right), &mut MatMut::new(&mut sums, c.rows, c.cols), false);
            let cols = c.cols.max(1);
            for (i, (row, sums)) in c.rows_mut().zip(sums.chunks(cols)).enumerate() {
                add_masked(row, &mask.data[i * mask.row_stride..], sums);
            }
        }
        touch(c, self.after);
    }
}
