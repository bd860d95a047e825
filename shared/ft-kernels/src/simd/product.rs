//! The small matrix products inside attention.

use super::vectors::{LANES, Simd, TileProduct};

impl TileProduct {
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
