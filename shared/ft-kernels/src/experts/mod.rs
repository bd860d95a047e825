//! Mixtures of experts: which experts a token goes to, and the rows' ways there and back.
//!
//! A router gives a logit an expert. Mixtral and Qwen3-MoE take the softmax over all of them and
//! the `k` largest; the result is the sum of these experts' results, each times its probability
//! (Jiang et al. 2024, "Mixtral of Experts", section 2.1), which Mixtral always and Qwen3-MoE by its
//! config divides by the sum of the `k`. An expert then sees its tokens' rows alone: [`gather_rows`],
//! the expert, [`scatter_add_weighted`]. Experts are added in the order of their number, so that a
//! token's result does not depend on its neighbours.

mod cpu;
mod operator;
pub mod reference;

pub use operator::{
    gather_rows, gather_rows_weighted, route, route_backward, row_dots, scatter_add, scatter_add_weighted,
};

use candle_core::Tensor;

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
