//! The root-mean-square norm of groups of columns, in place: the norms of queries and keys.
//!
//! Qwen3 and Gemma 3 normalise every head by itself with one weight for all of them; OLMo2
//! normalises all the query heads together (one group), and all the key heads. The formulas are those
//! of [`crate::norm::rms_norm`], with a group in the place of a row.

mod cpu;
pub mod reference;

use candle_core::Tensor;

use crate::backend::{Backend, Compute};
use crate::error::{Result, expect_shape};

/// Normalises, in every row of `x` `[tokens, columns]`, each of `groups` adjacent groups of columns
/// from `first_column` on, and multiplies it by the weights `w` `[width]`; the other columns stay.
///
/// On the CPU this happens in `x`'s own memory, so every other handle on it sees the change.
///
/// # Errors
/// If the shapes do not fit.
pub fn head_norm(
    compute: Compute,
    x: Tensor,
    w: &Tensor,
    first_column: usize,
    groups: usize,
    eps: f64,
) -> Result<Tensor> {
    let place = check("head_norm", &x, w, first_column, groups)?;
    match compute.backend {
        Backend::Cpu => cpu::head_norm(compute.isa, x, w, place, eps),
        Backend::Reference | Backend::Cuda => reference::head_norm(&x, w, first_column, groups, eps),
    }
}

/// Turns the gradient `dy` of [`head_norm`]'s result into that of its input `x`, which is needed as
/// it was before the norm; the other columns of `dy` stay.
///
/// On the CPU this happens in `dy`'s own memory, so every other handle on it sees the change.
///
/// # Errors
/// If the shapes do not fit.
pub fn head_norm_backward(
    compute: Compute,
    dy: Tensor,
    x: &Tensor,
    w: &Tensor,
    first_column: usize,
    groups: usize,
    eps: f64,
) -> Result<Tensor> {
    const NAME: &str = "head_norm_backward";
    let place = check(NAME, x, w, first_column, groups)?;
    expect_shape(dy.dims() == x.dims(), NAME, "dy", x.dims(), dy.dims())?;
    match compute.backend {
        Backend::Cpu => cpu::head_norm_backward(compute.isa, dy, x, w, place, eps),
        Backend::Reference | Backend::Cuda => reference::head_norm_backward(&dy, x, w, first_column, groups, eps),
    }
}

/// Where the groups lie in a row.
#[derive(Clone, Copy)]
struct Place {
    columns: usize,
    first: usize,
    groups: usize,
}

fn check(name: &'static str, x: &Tensor, w: &Tensor, first: usize, groups: usize) -> Result<Place> {
    let (_, columns) = x.dims2()?;
    let width = w.dims1()?;
    expect_shape(width > 0, name, "the weight's length", "1 or more", width)?;
    let wanted = first + groups * width;
    expect_shape(columns >= wanted, name, "x's columns", format!("{wanted} or more"), columns)?;
    Ok(Place { columns, first, groups })
}
