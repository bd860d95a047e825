//! Which tokens may be drawn, and how likely each is.

use ft_kernels::math::exp;

use super::options::Sampling;

/// A token that may be drawn, and its weight: its probability, times the same number for all.
pub(super) type Candidate = (u32, f64);

/// The tokens that `sampling` leaves of `logits`, in the order of their ids; `greatest` is the greatest logit. Temperature,
/// top-k, top-p and min-p act in the order of transformers' warpers, each on the probabilities that the one before it
/// left, which sum to one again.
pub(super) fn candidates(logits: &[f32], greatest: f32, sampling: &Sampling) -> Vec<Candidate> {
    // The temperature does not change which tokens are the likeliest, so the rest needs no exponential.
    let least = sampling.top_k.map_or(f32::NEG_INFINITY, |k| kth_greatest(logits, k));
    let weight = |logit: f32| exp((f64::from(logit) - f64::from(greatest)) / sampling.temperature);
    let likely = (0..).zip(logits).filter(|(_, logit)| **logit >= least);
    let mut kept: Vec<Candidate> = likely.map(|(id, &logit)| (id, weight(logit))).collect();
    if let Some(p) = sampling.top_p.filter(|&p| p < 1.0) {
        kept = keep_top_p(kept, p);
    }
    if let Some(min_p) = sampling.min_p {
        // The likeliest has the weight 1, so a weight is its share of the likeliest one's probability.
        kept.retain(|candidate| candidate.1 >= min_p);
    }
    kept
}

/// The `k`-th greatest logit, or the least one if there are fewer; all that are as great stay, as in transformers.
fn kth_greatest(logits: &[f32], k: usize) -> f32 {
    let mut order = logits.to_vec();
    let at = k.clamp(1, order.len()) - 1;
    *order.select_nth_unstable_by(at, |a, b| b.total_cmp(a)).1
}

/// Takes the least likely away as long as their probabilities together are at most `1 - p`; the likeliest stays.
fn keep_top_p(kept: Vec<Candidate>, p: f64) -> Vec<Candidate> {
    let total: f64 = kept.iter().map(|candidate| candidate.1).sum();
    // What is lighter than the mean of what may go goes in any case, so the most of a vocabulary is never sorted.
    let light = (1.0 - p) * total / kept.len() as f64;
    let (light, mut kept): (Vec<Candidate>, Vec<Candidate>) = kept.into_iter().partition(|c| c.1 < light);
    // Of equal ones the first token counts as the likelier.
    kept.sort_unstable_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
    let mut below: f64 = light.iter().map(|candidate| candidate.1).sum();
    let left_out = kept.iter().take_while(|candidate| {
        below += candidate.1;
        below / total <= 1.0 - p
    });
    let count = left_out.count().min(kept.len() - 1);
    kept.drain(..count);
    kept.sort_unstable_by_key(|candidate| candidate.0);
    kept
}
