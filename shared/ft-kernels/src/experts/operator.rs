//! The operator by its contract: whichever version the backend has.

use candle_core::Tensor;

use super::{Routing, check, cpu, reference};
use crate::backend::{Backend, Compute};
use crate::error::{Error, Result, expect_shape};

/// The `k` likeliest experts of each token, by its `logits` `[tokens, experts]`, and their weights:
/// probabilities, divided by the sum of the `k` where `normalise` says so.
///
/// # Errors
/// If `k` is 0 or more than there are experts.
pub fn route(compute: Compute, logits: &Tensor, k: usize, normalise: bool) -> Result<Routing> {
    let (_, experts) = logits.dims2()?;
    expect_shape(k > 0 && k <= experts, "route", "k", format!("1 to {experts}"), k)?;
    match compute.backend {
        Backend::Cpu => cpu::route(compute.isa, logits, k, normalise),
        Backend::Reference | Backend::Cuda => reference::route(logits, k, normalise),
    }
}

/// The gradient of [`route`]'s weights, `dweights` `[tokens, k]`, turned into that of the logits
/// `[tokens, experts]`.
///
/// # Errors
/// If the shapes do not fit.
pub fn route_backward(compute: Compute, dweights: &Tensor, routing: &Routing, logits: &Tensor) -> Result<Tensor> {
    const NAME: &str = "route_backward";
    let (tokens, experts) = logits.dims2()?;
    let (rows, k) = routing.weights.dims2()?;
    expect_shape(rows == tokens, NAME, "the routing's rows", tokens, rows)?;
    expect_shape(dweights.dims() == [tokens, k], NAME, "dweights", [tokens, k], dweights.dims())?;
    if let Some(&expert) = routing.experts.iter().find(|&&expert| expert as usize >= experts) {
        return Err(Error::shape(NAME, "an expert", format!("below {experts}"), expert));
    }
    match compute.backend {
        Backend::Cpu => cpu::route_backward(compute.isa, dweights, routing, logits),
        Backend::Reference | Backend::Cuda => reference::route_backward(dweights, routing, logits),
    }
}

/// The rows `rows` of `x` `[tokens, columns]`, in their order and as often as they stand there.
///
/// # Errors
/// If a row is not below the number of tokens.
pub fn gather_rows(compute: Compute, x: &Tensor, rows: &[u32]) -> Result<Tensor> {
    gather(compute, "gather_rows", x, rows, None)
}

/// [`gather_rows`], each row times its weight: the gradient of [`scatter_add_weighted`] for its rows.
///
/// # Errors
/// If a row is not below the number of tokens, or there is not one weight a row.
pub fn gather_rows_weighted(compute: Compute, x: &Tensor, rows: &[u32], weights: &[f32]) -> Result<Tensor> {
    gather(compute, "gather_rows_weighted", x, rows, Some(weights))
}

fn gather(compute: Compute, name: &'static str, x: &Tensor, rows: &[u32], weights: Option<&[f32]>) -> Result<Tensor> {
    let columns = check(name, x, rows, weights)?;
    match compute.backend {
        Backend::Cpu => cpu::gather_rows(x, columns, rows, weights),
        Backend::Reference | Backend::Cuda => reference::gather_rows(x, rows, weights),
    }
}

/// Adds the rows of `part` `[rows, columns]` to the rows `rows` of `y` `[tokens, columns]`, which
/// must rise: the gradient of [`gather_rows`].
///
/// On the CPU this happens in `y`'s own memory, so every other handle on it sees the change.
///
/// # Errors
/// If the shapes do not fit, or the rows do not rise or are not below the number of tokens.
pub fn scatter_add(compute: Compute, y: Tensor, part: &Tensor, rows: &[u32]) -> Result<Tensor> {
    scatter(compute, "scatter_add", y, part, rows, None)
}

/// [`scatter_add`], each row times its weight.
///
/// # Errors
/// As [`scatter_add`], or if there is not one weight a row.
pub fn scatter_add_weighted(
    compute: Compute,
    y: Tensor,
    part: &Tensor,
    rows: &[u32],
    weights: &[f32],
) -> Result<Tensor> {
    scatter(compute, "scatter_add_weighted", y, part, rows, Some(weights))
}

fn scatter(
    compute: Compute,
    name: &'static str,
    y: Tensor,
    part: &Tensor,
    rows: &[u32],
    weights: Option<&[f32]>,
) -> Result<Tensor> {
    let columns = check(name, &y, rows, weights)?;
    let wanted = [rows.len(), columns];
    expect_shape(part.dims() == wanted, name, "the part", wanted, part.dims())?;
    if let Some(pair) = rows.windows(2).find(|pair| pair[0] >= pair[1]) {
        return Err(Error::shape(name, "the rows' order", "a rise", pair));
    }
    match compute.backend {
        Backend::Cpu => cpu::scatter_add(compute.isa, y, columns, part, rows, weights),
        Backend::Reference | Backend::Cuda => reference::scatter_add(&y, part, rows, weights),
    }
}

/// The products of the rows `rows` of `dy` `[tokens, columns]` with those of `part`
/// `[rows, columns]`: the gradient of [`scatter_add_weighted`] for the weights.
///
/// # Errors
/// If the shapes do not fit, or a row is not below the number of tokens.
pub fn row_dots(compute: Compute, dy: &Tensor, part: &Tensor, rows: &[u32]) -> Result<Vec<f32>> {
    const NAME: &str = "row_dots";
    let columns = check(NAME, dy, rows, None)?;
    let wanted = [rows.len(), columns];
    expect_shape(part.dims() == wanted, NAME, "the part", wanted, part.dims())?;
    match compute.backend {
        Backend::Cpu => cpu::row_dots(compute.isa, dy, columns, part, rows),
        Backend::Reference | Backend::Cuda => reference::row_dots(dy, part, rows),
    }
}
