//! The small matrix products inside attention.

use super::{LANES, Simd};

/// `C = A B` or `C += A B` for matrices that lie in the caches.
///
/// Every element of C is one chain of fused multiply-adds over the inner index, in ascending order,
/// from zero or from what C held: its bits depend neither on the shape of the rest of C nor on the
/// instruction set.
///
/// All the memory that `rows`, `inner`, `vectors` and the strides span must be readable, and C's
/// writable and apart from A and B; strides count elements. C and B have `vectors * 16` columns,
/// adjacent in memory.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// Rows of A and C.
    pub rows: usize,
    /// Columns of A, rows of B.
    pub inner: usize,
    /// Columns of B and C, in vectors of 16.
    pub vectors: usize,
    /// A's first element.
    pub a: *const f32,
    /// From one row of A to the next.
    pub a_row: usize,
    /// From one column of A to the next.
    pub a_column: usize,
    /// B's first element.
    pub b: *const f32,
    /// From one row of B to the next.
    pub b_row: usize,
    /// C's first element.
    pub c: *mut f32,
    /// From one row of C to the next.
    pub c_row: usize,
    /// Whether to add to what C holds.
    pub accumulate: bool,
}

impl Product {
    /// Computes it in tiles of at most `M` rows and `N` vectors.
    ///
    /// # Safety
    /// As the type says.
    #[inline(always)]
    pub(super) unsafe fn run<S: Simd, const M: usize, const N: usize>(&self, simd: S) {
        let mut column = 0;
        while column < self.vectors {
            // SAFETY: the strips stay within the rows and columns.
            unsafe {
                if self.vectors - column >= N {
                    self.strip::<S, M, N>(simd, column);
                    column += N;
                } else {
                    self.strip::<S, M, 1>(simd, column);
                    column += 1;
                }
            }
        }
    }

    /// All rows of `N` vectors of columns.
    #[inline(always)]
    unsafe fn strip<S: Simd, const M: usize, const N: usize>(&self, simd: S, column: usize) {
        let mut row = 0;
        // SAFETY: row + the tile's rows never passes self.rows.
        unsafe {
            while self.rows - row >= M {
                self.tile::<S, M, N>(simd, row, column);
                row += M;
            }
            if M > 4 && self.rows - row >= 4 {
                self.tile::<S, 4, N>(simd, row, column);
                row += 4;
            }
            if self.rows - row >= 2 {
                self.tile::<S, 2, N>(simd, row, column);
                row += 2;
            }
            if self.rows - row >= 1 {
                self.tile::<S, 1, N>(simd, row, column);
            }
        }
    }

    /// `M` rows of `N` vectors, held in registers.
    #[inline(always)]
    unsafe fn tile<S: Simd, const M: usize, const N: usize>(&self, simd: S, row: usize, column: usize) {
        // SAFETY: the caller's promise about the memory.
        unsafe {
            let c = self.c.add(row * self.c_row + column * LANES);
            let mut sums = [[simd.splat(0.0); N]; M];
            if self.accumulate {
                for (i, sums) in sums.iter_mut().enumerate() {
                    for (j, sum) in sums.iter_mut().enumerate() {
                        *sum = simd.load(c.add(i * self.c_row + j * LANES));
                    }
                }
            }
            let mut a = self.a.add(row * self.a_row);
            let mut b = self.b.add(column * LANES);
            for _ in 0..self.inner {
                let mut right = [simd.splat(0.0); N];
                for (j, right) in right.iter_mut().enumerate() {
                    *right = simd.load(b.add(j * LANES));
                }
                for (i, sums) in sums.iter_mut().enumerate() {
                    let left = simd.splat(*a.add(i * self.a_row));
                    for (sum, &right) in sums.iter_mut().zip(&right) {
                        *sum = simd.fma(left, right, *sum);
                    }
                }
                a = a.wrapping_add(self.a_column);
                b = b.wrapping_add(self.b_row);
            }
            for (i, sums) in sums.iter().enumerate() {
                for (j, &sum) in sums.iter().enumerate() {
                    simd.store(c.add(i * self.c_row + j * LANES), sum);
                }
            }
        }
    }
}
