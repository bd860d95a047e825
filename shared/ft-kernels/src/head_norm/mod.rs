//! The root-mean-square norm of groups of columns, in place: the norms of queries and keys.
//!
//! Qwen3 and Gemma 3 normalise every head by itself with one weight for all of them; OLMo2
//! normalises all the query heads together (one group), and all the key heads. The formulas are those
//! of [`crate::norm::rms_norm`], with a group in the place of a row.

mod cpu;
mod cuda;
mod operator;
pub mod reference;

pub use operator::{head_norm, head_norm_backward};

use candle_core::Tensor;

use crate::error::{Result, expect_shape};

/// Where the groups lie in a row.
#[derive(Clone, Copy)]
struct HeadColumns {
    columns: usize,
    first: usize,
    groups: usize,
}

fn check(name: &'static str, x: &Tensor, w: &Tensor, first: usize, groups: usize) -> Result<HeadColumns> {
    let (_, columns) = x.dims2()?;
    let width = w.dims1()?;
    expect_shape(width > 0, name, "the weight's length", "1 or more", width)?;
    let wanted = first + groups * width;
    expect_shape(columns >= wanted, name, "x's columns", format!("{wanted} or more"), columns)?;
    Ok(HeadColumns { columns, first, groups })
}
