//! Fused projections whose columns stand in another order than the engine's.

mod cpu;
mod operator;
pub mod reference;

pub use operator::{join_heads, split_heads};

use candle_core::Tensor;

use crate::error::{Result, expect_shape};

fn check(name: &'static str, x: &Tensor, heads: usize, head_dim: usize) -> Result<(usize, usize)> {
    let (rows, columns) = x.dims2()?;
    let wanted = 3 * heads * head_dim;
    expect_shape(wanted > 0 && columns == wanted, name, "x's columns", wanted, columns)?;
    Ok((rows, columns))
}
