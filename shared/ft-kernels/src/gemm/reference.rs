//! The plain version of the products: what the packed kernels are held to.

use super::{Mat, MatMut, Rhs, block_length};

/// `c = a·b` or `c += a·b`, element by element, in the order of sums that [`super::matmul`] keeps.
///
/// # Panics
/// Where the shapes do not fit together.
pub fn matmul(a: Mat<'_, f32>, b: Rhs<'_>, c: &mut MatMut<'_>, accumulate: bool) {
    let (k, n) = b.shape();
    assert!(a.cols == k && c.rows == a.rows && c.cols == n);
    let right = |p: usize, j: usize| match b {
        Rhs::F32(m) => m.data[p * m.row_stride + j * m.col_stride],
        Rhs::Bf16(m) => m.data[p * m.row_stride + j * m.col_stride].to_f32(),
        Rhs::F16(m) => m.data[p * m.row_stride + j * m.col_stride].to_f32(),
        Rhs::Blocks(m) => m.element(p, j),
    };
    let step = block_length(k);
    for i in 0..c.rows {
        for j in 0..n {
            let mut total = accumulate.then(|| c.data[i * c.stride + j]);
            for from in (0..k).step_by(step) {
                let block = (from..k.min(from + step))
                    .fold(0.0, |sum: f32, p| a.data[i * a.row_stride + p * a.col_stride].mul_add(right(p, j), sum));
                total = Some(total.map_or(block, |t| t + block));
            }
            c.data[i * c.stride + j] = total.unwrap_or(0.0);
        }
    }
}
