//! Rows times a factor each: queries that grow with their position (Llama 4's temperature of attention, Ministral 3).

mod cpu;
pub mod reference;

use candle_core::Tensor;

use crate::backend::{Backend, Compute};
use crate::error::{Result, expect_shape};

/// Multiplies the first `columns` columns of every row of `x` `[tokens, all]` by the row's factor; the others stay. The
/// gradient of `x` is that of the result, through the same operator.
///
/// On the CPU this happens in `x`'s own memory, so every other handle on it sees the change.
///
/// # Errors
/// If there is not one factor a row, or `x` has fewer columns.
pub fn row_scale(compute: Compute, x: Tensor, factors: &[f32], columns: usize) -> Result<Tensor> {
    let (rows, all) = x.dims2()?;
    expect_shape(rows == factors.len(), "row_scale", "the number of factors", rows, factors.len())?;
    expect_shape(columns <= all, "row_scale", "x's columns", format!("{columns} or more"), all)?;
    match compute.backend {
        Backend::Cpu => cpu::row_scale(x, all, factors, columns),
        Backend::Reference | Backend::Cuda => reference::row_scale(&x, factors, columns),
    }
}
