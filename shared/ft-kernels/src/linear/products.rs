//! The products of frozen matrices, and the gradient of one that is not.

use candle_core::{Result, Tensor};

use super::floats::with_weights;
use super::{Weight, reference};
use crate::backend::{Compute, Isa};
use crate::gemm::{Mat, MatMut, Rhs, Tail, block_length, matmul, matmul_part};
use crate::skinny::{Weights, skinny, skinny_by_rows};
use crate::tensor::{from_vec, unwritten, with_slice, with_slice_mut, with_slices};

/// `x·Wᵀ` (or, with `transposed`, `x·W`) for a frozen `W` `[out, in]`, no adapters.
///
/// # Errors
/// If candle refuses the shapes or types.
pub fn product(compute: Compute, x: &Tensor, weight: impl Into<Weight>, transposed: bool) -> Result<Tensor> {
    let weight = &weight.into();
    if !compute.is_fused() {
        return reference::frozen(compute, x, weight, transposed);
    }
    let ((rows, k), (out, columns)) = (x.dims2()?, weight.dims2()?);
    let (n, inner) = if transposed { (columns, out) } else { (out, columns) };
    if k != inner {
        candle_core::bail!("a product of rows of {k} with a matrix [{out}, {columns}], transposed: {transposed}");
    }
    // SAFETY: a product that is not added to what is there writes every element.
    let mut y = unsafe { unwritten(rows * n) };
    let isa = compute.isa;
    with_slice(x, |x| frozen(isa, x, weight, transposed, &mut MatMut::new(&mut y, rows, n), false, &Tail::default()))??;
    from_vec(y, (rows, n))
}

/// `y + x·Wᵀ`, with `y` `[rows, out]`; on the CPU in the memory of `y`: every other handle on it sees the change.
///
/// # Errors
/// If candle refuses the shapes or types.
pub fn add_product(compute: Compute, y: Tensor, x: &Tensor, weight: impl Into<Weight>) -> Result<Tensor> {
    let weight = &weight.into();
    if !compute.is_fused() {
        return y + reference::frozen(compute, x, weight, false)?;
    }
    let ((rows, k), (n, inner)) = (x.dims2()?, weight.dims2()?);
    if k != inner || y.dims() != [rows, n] {
        candle_core::bail!("a product of [{rows}, {k}] and [{inner}, {n}] is added to {:?}", y.dims());
    }
    let isa = compute.isa;
    with_slice(x, |x| {
        with_slice_mut(&y, |y| frozen(isa, x, weight, false, &mut MatMut::new(y, rows, n), true, &Tail::default()))
    })???;
    Ok(y)
}

/// The gradient of a whole matrix `W` `[out, in]` in `x·Wᵀ`: `dyᵀ·x`, with `dy` `[rows, out]` and `x`
/// `[rows, in]`. The rows are summed in an order that depends on their number alone.
///
/// # Errors
/// If the numbers of rows differ or candle refuses the types.
pub fn weight_gradient(compute: Compute, dy: &Tensor, x: &Tensor) -> Result<Tensor> {
    let ((rows, out), (rows_of_x, inner)) = (dy.dims2()?, x.dims2()?);
    if rows != rows_of_x {
        candle_core::bail!("the gradient of a matrix from {rows} rows of outputs and {rows_of_x} rows of inputs");
    }
    if !compute.is_fused() {
        return reference::weight_gradient(compute, dy, x);
    }
    // SAFETY: a product that is not added to what is there writes every element.
    let mut dw = unsafe { unwritten(out * inner) };
    with_slices([dy, x], |[dy, x]| {
        let x = Rhs::F32(Mat::new(x, rows, inner));
        matmul(compute.isa, Mat::new(dy, rows, out).t(), x, &mut MatMut::new(&mut dw, out, inner), false);
    })?;
    from_vec(dw, (out, inner))
}

/// [`product`] (not transposed) for a few rows: fast where the weights are read from memory for them alone.
///
/// # Errors
/// If candle refuses the shapes or types.
pub fn product_few(compute: Compute, x: &Tensor, weight: impl Into<Weight>) -> Result<Tensor> {
    let weight = &weight.into();
    if !compute.is_fused() {
        return reference::frozen(compute, x, weight, false);
    }
    from_vec(product_few_slice(compute.isa, x, weight)?, (x.dim(0)?, weight.dims2()?.0))
}

pub(super) fn product_few_slice(isa: Isa, x: &Tensor, weight: &Weight) -> Result<Vec<f32>> {
    let ((rows, k), (n, inner)) = (x.dims2()?, weight.dims2()?);
    if k != inner {
        candle_core::bail!("a product of rows of {k} with rows of {inner} elements");
    }
    // SAFETY: `skinny` writes a product for every row and column.
    let mut y = unsafe { unwritten(rows * n) };
    with_slice(x, |x| match weight {
        Weight::Float(weight) => with_weights(weight, |weights| skinny(isa, x, weights, k, &mut y)),
        Weight::Rows(weight) => skinny_by_rows(isa, x, weight, &mut y),
    })??;
    Ok(y)
}

/// `y = x·Wᵀ` (or, with `transposed`, `x·W`) for rows `x` of a frozen `W`, or that added to `y`, and what follows it.
pub(super) fn frozen(
    isa: Isa,
    x: &[f32],
    weight: &Weight,
    transposed: bool,
    y: &mut MatMut<'_>,
    accumulate: bool,
    tail: &Tail<'_>,
) -> Result<()> {
    let (out, inner) = weight.dims2()?;
    let k = if transposed { out } else { inner };
    let x = Mat::new(x, y.rows, k);
    match weight {
        Weight::Float(weight) => with_rhs(weight, |w| {
            let w = if transposed { w } else { w.t() };
            matmul_part(isa, x, w, y, accumulate, block_length(k), tail);
        }),
        Weight::Rows(rows) => rows.multiply(isa, x, transposed, y, accumulate, tail),
    }
}

/// Calls `f` with such a matrix as the right side of a product.
fn with_rhs<R>(weight: &Tensor, f: impl FnOnce(Rhs<'_>) -> R) -> Result<R> {
    let (rows, cols) = weight.dims2()?;
    with_weights(weight, |weights| {
        f(match weights {
            Weights::F32(w) => Rhs::F32(Mat::new(w, rows, cols)),
            Weights::Bf16(w) => Rhs::Bf16(Mat::new(w, rows, cols)),
            Weights::F16(w) => Rhs::F16(Mat::new(w, rows, cols)),
        })
    })
}
