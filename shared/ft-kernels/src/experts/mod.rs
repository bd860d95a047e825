//! Mixtures of experts: which experts a token goes to, and the rows' ways there and back.
//!
//! A router gives a logit an expert. Mixtral and Qwen3-MoE take the softmax over all of them and
//! the `k` largest; the result is the sum of these experts' results, each times its probability
//! (Jiang et al. 2024, "Mixtral of Experts", section 2.1), which Mixtral always and Qwen3-MoE by its
//! config divides by the sum of the `k`. An expert then sees its tokens' rows alone: [`gather_rows`],
//! the expert, [`scatter_add_weighted`]. Experts are added in the order of their number, so that a
//! token's result does not depend on its neighbours.

mod cpu;
pub mod reference;

use candle_core::Tensor;

use crate::backend::{Backend, Compute};
use crate::error::{Error, Result, expect_shape};

/// Where tokens go.
#[derive(Clone, Debug)]
pub struct Routing {
    /// Each token's experts `[tokens, k]`, the likeliest first, of equal ones the one with the lower
    /// number.
    pub experts: Vec<u32>,
    /// What their results are multiplied by, `[tokens, k]`.
    pub weights: Tensor,
    /// Whether a token's weights were divided by their sum.
    pub normalised: bool,
}

/// What one expert gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Its tokens, rising.
    pub rows: Vec<u32>,
    /// For each of them, the place in [`Routing::experts`] and of its weight.
    pub places: Vec<usize>,
}

impl Routing {
    /// Each expert's share, for experts `0..count`.
    pub fn shares(&self, count: usize) -> Vec<Share> {
        let mut shares = vec![Share::default(); count];
        let k = self.weights.dims().last().copied().unwrap_or(1).max(1);
        for (place, &expert) in self.experts.iter().enumerate() {
            let share = &mut shares[expert as usize];
            share.rows.push((place / k) as u32);
            share.places.push(place);
        }
        shares
    }
}

impl Share {
    /// Where sequences, whose tokens start at `starts` (their number last), start among the share's
    /// rows.
    pub fn starts(&self, starts: &[usize]) -> Vec<usize> {
        starts.iter().map(|&start| self.rows.partition_point(|&row| (row as usize) < start)).collect()
    }

    /// The share's part of what a place has each, such as weights.
    pub fn pick(&self, of_places: &[f32]) -> Vec<f32> {
        self.places.iter().map(|&place| of_places[place]).collect()
    }
}

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

fn check(name: &'static str, x: &Tensor, rows: &[u32], weights: Option<&[f32]>) -> Result<usize> {
    let (tokens, columns) = x.dims2()?;
    if let Some(row) = rows.iter().find(|&&row| row as usize >= tokens) {
        return Err(Error::shape(name, "a row's number", format!("below {tokens}"), row));
    }
    if let Some(weights) = weights {
        let found = weights.len();
        expect_shape(found == rows.len(), name, "the number of weights", rows.len(), found)?;
    }
    Ok(columns)
}

/// The expert that follows `last` in the order of the logits, the largest first and equal ones by
/// their number; the first of all after none.
pub(super) fn likeliest_after(logits: &[f32], last: Option<usize>) -> usize {
    // 0 is added so that both zeros count as equal.
    let order = |a: usize, b: usize| (logits[b] + 0.0).total_cmp(&(logits[a] + 0.0)).then(a.cmp(&b));
    let rest = (0..logits.len()).filter(|&e| last.is_none_or(|last| order(last, e).is_lt()));
    rest.min_by(|&a, &b| order(a, b)).unwrap_or(0)
}
