//! Products of f64 matrices, row-major. An element is one sum in one order, whatever the threads and the machine.

use rayon::prelude::*;

/// Sums that run side by side, so that the compiler can use vectors.
const LANES: usize = 8;

/// The dot product.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0f64; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

/// `y += factor * x`
pub fn axpy(factor: f64, x: &[f64], y: &mut [f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += factor * x;
    }
}

/// The length of a vector.
pub fn norm(x: &[f64]) -> f64 {
    dot(x, x).sqrt()
}

/// `[columns, rows]` of a matrix `[rows, columns]`.
pub fn transposed(matrix: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    let mut result = vec![0.0; matrix.len()];
    result.par_chunks_mut(rows.max(1)).enumerate().for_each(|(j, row)| {
        for (i, x) in row.iter_mut().enumerate() {
            *x = matrix[i * columns + j];
        }
    });
    result
}

/// `M·Mᵀ` of a matrix `[rows, columns]`.
pub fn gram(matrix: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    let row = |i: usize| &matrix[i * columns..(i + 1) * columns];
    let mut result = vec![0.0; rows * rows];
    result.par_chunks_mut(rows).enumerate().for_each(|(i, out)| {
        for (j, x) in out.iter_mut().enumerate() {
            // Both halves are the same sums of the same products.
            *x = dot(row(i), row(j));
        }
    });
    result
}

/// `L·M` of `[count, rows]` and `[rows, columns]`.
pub fn times(left: &[f64], matrix: &[f64], count: usize, rows: usize, columns: usize) -> Vec<f64> {
    let mut result = vec![0.0; count * columns];
    result.par_chunks_mut(columns).zip(left.par_chunks(rows)).for_each(|(out, left)| {
        for (&factor, row) in left.iter().zip(matrix.chunks(columns)) {
            axpy(factor, row, out);
        }
    });
    result
}

/// `L·Mᵀ` of `[count, columns]` and `[rows, columns]`.
pub fn transposed_times(left: &[f64], matrix: &[f64], count: usize, rows: usize, columns: usize) -> Vec<f64> {
    let mut result = vec![0.0; count * rows];
    result.par_chunks_mut(rows).zip(left.par_chunks(columns)).for_each(|(out, left)| {
        for (x, row) in out.iter_mut().zip(matrix.chunks(columns)) {
            *x = dot(left, row);
        }
    });
    result
}

/// Makes rows of `len` elements orthonormal, one after the other, each twice; what depends on rows before it becomes
/// zero.
pub fn orthonormal(rows: &mut [f64], len: usize) {
    for i in 0..rows.len() / len {
        let (before, rest) = rows.split_at_mut(i * len);
        let row = &mut rest[..len];
        let whole = norm(row);
        for _ in 0..2 {
            for other in before.chunks(len) {
                let share = dot(other, row);
                axpy(-share, other, row);
            }
        }
        let left = norm(row);
        let factor = if left > 1e-13 * whole { 1.0 / left } else { 0.0 };
        row.par_iter_mut().for_each(|x| *x *= factor);
    }
}
