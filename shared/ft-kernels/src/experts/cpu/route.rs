//! From logits to experts, and the gradient back.
//!
//! With the probabilities `p` and the chosen `p_j`, their gradients `d_j`: divided by their sum, the
//! weights `w_j` are the softmax over the chosen alone, so `dl_j = w_j (d_j - sum(w d))` and the other
//! logits have no gradient. Not divided, `dl_e = p_e ([e chosen] d_e - sum(p_j d_j))`.

use candle_core::Tensor;

use crate::error::Result;
use crate::experts::{Routing, likeliest_after};
use crate::parallel::{Shared, for_row_blocks};
use crate::simd::{Isa, Kernel, LANES, Simd, dispatch};
use crate::tensor::{from_vec, unwritten, with_slice, with_slices};
use crate::vector::exp;

/// See [`crate::experts::route`].
pub fn route(isa: Isa, logits: &Tensor, k: usize, normalise: bool) -> Result<Routing> {
    let (tokens, experts) = logits.dims2()?;
    let mut chosen = vec![0u32; tokens * k];
    // SAFETY: every token is in one of the blocks below, and the kernel writes each of its `k` weights.
    let mut weights = unsafe { unwritten(tokens * k) };
    let shared = Shared::new(&mut weights);
    with_slice(logits, |logits| {
        for_row_blocks(&mut chosen, k, |first, chosen| {
            let logits = &logits[first * experts..][..chosen.len() / k * experts];
            // SAFETY: these are the weights of the block's own tokens.
            let weights = unsafe { shared.part(first * k, chosen.len()) };
            dispatch(isa, Route { logits, experts, k, normalise, chosen, weights });
        });
    })?;
    Ok(Routing { experts: chosen, weights: from_vec(weights, (tokens, k))?, normalised: normalise })
}

/// See [`crate::experts::route_backward`].
pub fn route_backward(isa: Isa, dweights: &Tensor, routing: &Routing, logits: &Tensor) -> Result<Tensor> {
    let ((tokens, experts), (_, k)) = (logits.dims2()?, routing.weights.dims2()?);
    let all = [dweights, &routing.weights, logits];
    // SAFETY: every token is in one of the blocks below, and the kernel fills its row before it adds to it.
    let mut dlogits = unsafe { unwritten(tokens * experts) };
    with_slices(all, |[dweights, weights, logits]| {
        for_row_blocks(&mut dlogits, experts, |first, dlogits| {
            let count = dlogits.len() / experts;
            let places = first * k..(first + count) * k;
            dispatch(
                isa,
                Backward {
                    dweights: &dweights[places.clone()],
                    weights: &weights[places.clone()],
                    chosen: &routing.experts[places],
                    logits: &logits[first * experts..][..dlogits.len()],
                    experts,
                    k,
                    normalised: routing.normalised,
                    dlogits,
                },
            );
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
