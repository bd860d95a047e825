//! From logits to experts, and the gradient back.
//!
//! With the probabilities `p` and the chosen `p_j`, their gradients `d_j`: divided by their sum, the
//! weights `w_j` are the softmax over the chosen alone, so `dl_j = w_j (d_j - sum(w d))` and the other
//! logits have no gradient. Not divided, `dl_e = p_e ([e chosen] d_e - sum(p_j d_j))`.

use candle_core::Tensor;

use super::{Routing, reference};
use crate::error::{Error, Result, expect_shape};
use crate::parallel::{Shared, for_row_blocks};
use crate::simd::{Kernel, LANES, Simd, dispatch_best};
use crate::tensor::{from_vec, is_fused, uninit, with_slice, with_slices};
use crate::vector::exp;

/// The `k` likeliest experts of each token, by its `logits` `[tokens, experts]`, and their weights:
/// probabilities, divided by the sum of the `k` where `normalise` says so.
///
/// # Errors
/// If `k` is 0 or more than there are experts.
pub fn route(logits: &Tensor, k: usize, normalise: bool) -> Result<Routing> {
    let (tokens, experts) = logits.dims2()?;
    expect_shape(k > 0 && k <= experts, "route", "k", format!("1 to {experts}"), k)?;
    if !is_fused(logits) {
        return reference::route(logits, k, normalise);
    }
    let mut chosen = vec![0u32; tokens * k];
    let mut weights = uninit(tokens * k);
    let shared = Shared::new(&mut weights);
    with_slice(logits, |logits| {
        for_row_blocks(&mut chosen, k, |first, chosen| {
            let logits = &logits[first * experts..][..chosen.len() / k * experts];
            // SAFETY: these are the weights of the block's own tokens.
            let weights = unsafe { shared.part(first * k, chosen.len()) };
            dispatch_best(Route { logits, experts, k, normalise, chosen, weights });
        });
    })?;
    Ok(Routing { experts: chosen, weights: from_vec(weights, (tokens, k))?, normalised: normalise })
}

/// The gradient of [`route`]'s weights, `dweights` `[tokens, k]`, turned into that of the logits
/// `[tokens, experts]`.
///
/// # Errors
/// If the shapes do not fit.
pub fn route_backward(dweights: &Tensor, routing: &Routing, logits: &Tensor) -> Result<Tensor> {
    const NAME: &str = "route_backward";
    let (tokens, experts) = logits.dims2()?;
    let (rows, k) = routing.weights.dims2()?;
    expect_shape(rows == tokens, NAME, "the routing's rows", tokens, rows)?;
    expect_shape(dweights.dims() == [tokens, k], NAME, "dweights", [tokens, k], dweights.dims())?;
    if let Some(&expert) = routing.experts.iter().find(|&&expert| expert as usize >= experts) {
        return Err(Error::shape(NAME, "an expert", format!("below {experts}"), expert));
    }
    let all = [dweights, &routing.weights, logits];
    if !all.into_iter().all(is_fused) {
        return reference::route_backward(dweights, routing, logits);
    }
    let mut dlogits = uninit(tokens * experts);
    with_slices(all, |[dweights, weights, logits]| {
        for_row_blocks(&mut dlogits, experts, |first, dlogits| {
            let count = dlogits.len() / experts;
            let places = first * k..(first + count) * k;
            dispatch_best(Backward {
                dweights: &dweights[places.clone()],
                weights: &weights[places.clone()],
                chosen: &routing.experts[places],
                logits: &logits[first * experts..][..dlogits.len()],
                experts,
                k,
                normalised: routing.normalised,
                dlogits,
            });
        });
    })?;
    Ok(from_vec(dlogits, (tokens, experts))?)
}

struct Route<'a> {
    logits: &'a [f32],
    experts: usize,
    k: usize,
    normalise: bool,
    chosen: &'a mut [u32],
    weights: &'a mut [f32],
}

impl Kernel for Route<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut p = vec![0f32; self.experts];
        let places = self.chosen.chunks_exact_mut(self.k).zip(self.weights.chunks_exact_mut(self.k));
        for (logits, (chosen, weights)) in self.logits.chunks_exact(self.experts).zip(places) {
            softmax(s, logits, &mut p);
            let mut last = None;
            for (expert, weight) in chosen.iter_mut().zip(weights.iter_mut()) {
                let best = likeliest_after(logits, last);
                (*expert, *weight, last) = (best as u32, p[best], Some(best));
            }
            if self.normalise {
                let sum: f32 = weights.iter().sum();
                weights.iter_mut().for_each(|w| *w /= sum);
            }
        }
    }
}

struct Backward<'a> {
    dweights: &'a [f32],
    weights: &'a [f32],
    chosen: &'a [u32],
    logits: &'a [f32],
    experts: usize,
    k: usize,
    normalised: bool,
    dlogits: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let rows = self.logits.chunks_exact(self.experts).zip(self.dlogits.chunks_exact_mut(self.experts));
        for (row, (logits, dlogits)) in rows.enumerate() {
            let places = row * self.k..(row + 1) * self.k;
            let (d, w) = (&self.dweights[places.clone()], &self.weights[places.clone()]);
            let mean: f32 = d.iter().zip(w).map(|(d, w)| d * w).sum();
            let within = if self.normalised { mean } else { 0.0 };
            if self.normalised {
                dlogits.fill(0.0);
            } else {
                softmax(s, logits, dlogits);
                dlogits.iter_mut().for_each(|p| *p *= -mean);
            }
            for (&expert, (d, w)) in self.chosen[places].iter().zip(d.iter().zip(w)) {
                dlogits[expert as usize] += w * (d - within);
            }
        }
    }
}

/// The expert that follows `last` in the order of the logits, the largest first and equal ones by
/// their number; the first of all after none.
pub(super) fn likeliest_after(logits: &[f32], last: Option<usize>) -> usize {
    // 0 is added so that both zeros count as equal.
    let order = |a: usize, b: usize| (logits[b] + 0.0).total_cmp(&(logits[a] + 0.0)).then(a.cmp(&b));
    let rest = (0..logits.len()).filter(|&e| last.is_none_or(|last| order(last, e).is_lt()));
    rest.min_by(|&a, &b| order(a, b)).unwrap_or(0)
}

/// `p = softmax(x)`.
#[inline(always)]
fn softmax<S: Simd>(s: S, x: &[f32], p: &mut [f32]) {
    let mut most = s.splat(f32::NEG_INFINITY);
    for part in x.chunks(LANES) {
        most = s.max(s.load_part(part, f32::NEG_INFINITY), most);
    }
    let shift = s.splat(s.max_lane(most));
    let mut sum = s.splat(0.0);
    for (x, p) in x.chunks(LANES).zip(p.chunks_mut(LANES)) {
        let e = exp(s, s.sub(s.load_part(x, f32::NEG_INFINITY), shift));
        s.store_part(p, e);
        sum = s.add(sum, e);
    }
    let factor = s.splat(1.0 / s.sum(sum));
    for p in p.chunks_mut(LANES) {
        let scaled = s.mul(s.load_part(p, 0.0), factor);
        s.store_part(p, scaled);
    }
}
