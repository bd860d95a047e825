//! Mixtures of experts: which experts a token goes to, and the rows' ways there and back.
//!
//! A router gives a logit an expert. Mixtral and Qwen3-MoE take the softmax over all of them and
//! the `k` largest; the result is the sum of these experts' results, each times its probability
//! (Jiang et al. 2024, "Mixtral of Experts", section 2.1), which Mixtral always and Qwen3-MoE by its
//! config divides by the sum of the `k`. An expert then sees its tokens' rows alone: [`gather_rows`],
//! the expert, [`scatter_add_weighted`]. Experts are added in the order of their number, so that a
//! token's result does not depend on its neighbours.

pub mod reference;
mod route;
mod rows;

pub use route::{route, route_backward};
pub use rows::{gather_rows, gather_rows_weighted, row_dots, scatter_add, scatter_add_weighted};

use candle_core::Tensor;

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
