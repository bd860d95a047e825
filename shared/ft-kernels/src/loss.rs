//! Cross-entropy of rows of logits against one target a row.
//!
//! `nll = log(sum_j e^(x_j)) - x_target`; its gradient is `softmax(x) - onehot(target)`.

use candle_core::Tensor;
use rayon::prelude::*;

use crate::error::{Error, Result, expect_shape};
use crate::simd::{Kernel, LANES, Simd, dispatch};
use crate::tensor::{is_fused, with_slice, with_slice_mut};
use crate::vector::exp;

/// What the loss says about each row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowLosses {
    /// The negative log-likelihood of the row's target, in nats.
    pub nll: Vec<f32>,
    /// Whether the target is the row's (first) largest logit.
    pub correct: Vec<bool>,
}

/// The losses of `logits` `[rows, vocabulary]` and the gradient of their sum times `scale`.
///
/// On the CPU the gradient takes the logits' memory: every other handle on it sees the change.
/// `scale` is 1 over the normaliser of the step.
///
/// # Errors
/// If there is not one target a row, or a target lies outside the vocabulary.
pub fn cross_entropy(logits: Tensor, targets: &[u32], scale: f32) -> Result<(RowLosses, Tensor)> {
    let columns = check(&logits, targets)?;
    if !is_fused(&logits) {
        return reference::cross_entropy(&logits, targets, scale);
    }
    let rows = with_slice_mut(&logits, |logits| {
        logits
            .par_chunks_exact_mut(columns)
            .zip(targets)
            .map(|(row, &target)| {
                let target = target as usize;
                dispatch(WithGradient { row, target, scale })
            })
            .collect::<Vec<_>>()
    })?;
    Ok((gather(rows), logits))
}

/// The losses alone.
///
/// # Errors
/// As [`cross_entropy`].
pub fn cross_entropy_forward(logits: &Tensor, targets: &[u32]) -> Result<RowLosses> {
    let columns = check(logits, targets)?;
    if !is_fused(logits) {
        return reference::cross_entropy_forward(logits, targets);
    }
    let rows = with_slice(logits, |logits| {
        logits
            .par_chunks_exact(columns)
            .zip(targets)
            .map(|(row, &target)| {
                let target = target as usize;
                dispatch(Forward { row, target })
            })
            .collect::<Vec<_>>()
    })?;
    Ok(gather(rows))
}

fn check(logits: &Tensor, targets: &[u32]) -> Result<usize> {
    const NAME: &str = "cross-entropy";
    let (rows, columns) = logits.dims2()?;
    let found = targets.len();
    expect_shape(found == rows, NAME, "the number of targets", rows, found)?;
    match targets.iter().position(|&t| t as usize >= columns) {
        None => Ok(columns),
        Some(row) => Err(Error::Target { row, target: targets[row], vocabulary: columns }),
    }
}

fn gather(rows: Vec<(f32, bool)>) -> RowLosses {
    let (nll, correct) = rows.into_iter().unzip();
    RowLosses { nll, correct }
}

struct Forward<'a> {
    row: &'a [f32],
    target: usize,
}

impl Kernel for Forward<'_> {
    type Output = (f32, bool);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (f32, bool) {
        let largest = largest(s, self.row);
        let shift = s.splat(largest);
        let sum = sum_in_blocks(
            s,
            self.row.len(),
            #[inline(always)]
            |at| exp(s, s.sub(s.load_part(&self.row[at..], f32::NEG_INFINITY), shift)),
        );
        let (gap, correct) = standing(self.row, self.target, largest);
        ((gap + sum.ln()) as f32, correct)
    }
}

struct WithGradient<'a> {
    row: &'a mut [f32],
    target: usize,
    scale: f32,
}

impl Kernel for WithGradient<'_> {
    type Output = (f32, bool);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (f32, bool) {
        let Self { row, target, scale } = self;
        let largest = largest(s, row);
        let shift = s.splat(largest);
        let (gap, correct) = standing(row, target, largest);
        let place = row.as_mut_ptr();
        let len = row.len();
        let sum = sum_in_blocks(
            s,
            len,
            #[inline(always)]
            |at| {
                // SAFETY: `at` is below `len`, and no other reference to the row is in use.
                let part = unsafe { std::slice::from_raw_parts_mut(place.add(at), LANES.min(len - at)) };
                let e = exp(s, s.sub(s.load_part(part, f32::NEG_INFINITY), shift));
                s.store_part(part, e);
                e
            },
        );
        let factor = s.splat((f64::from(scale) / sum) as f32);
        for part in row.chunks_mut(LANES) {
            let p = s.mul(s.load_part(part, 0.0), factor);
            s.store_part(part, p);
        }
        row[target] -= scale;
        ((gap + sum.ln()) as f32, correct)
    }
}

/// How far the target's logit lies below the largest, and whether it is the first of those.
#[inline(always)]
fn standing(row: &[f32], target: usize, largest: f32) -> (f64, bool) {
    let own = row[target];
    let correct = own >= largest && row[..target].iter().all(|&x| x < largest);
    (f64::from(largest) - f64::from(own), correct)
}

#[inline(always)]
fn largest<S: Simd>(s: S, row: &[f32]) -> f32 {
    let mut most = [s.splat(f32::NEG_INFINITY); 4];
    for block in row.chunks(4 * LANES) {
        for (most, part) in most.iter_mut().zip(block.chunks(LANES)) {
            *most = s.max(s.load_part(part, f32::NEG_INFINITY), *most);
        }
    }
    s.max_lane(s.max(s.max(most[0], most[1]), s.max(most[2], most[3])))
}

/// The sum of the vectors that `value` gives for 0, 16, 32, … below `len`: in `f32` over blocks of
/// 4096 elements, the blocks in `f64`.
#[inline(always)]
fn sum_in_blocks<S: Simd>(s: S, len: usize, value: impl Fn(usize) -> S::V) -> f64 {
    const BLOCK: usize = 4096;
    let mut total = 0f64;
    for start in (0..len).step_by(BLOCK) {
        let end = len.min(start + BLOCK);
        let mut sums = [s.splat(0.0); 4];
        let mut at = start;
        while at + 4 * LANES <= end {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = s.add(*sum, value(at + i * LANES));
            }
            at += 4 * LANES;
        }
        while at < end {
            sums[0] = s.add(sums[0], value(at));
            at += LANES;
        }
        total += f64::from(s.sum4(sums));
    }
    total
}

/// The same in candle operations, on any device.
pub mod reference {
    use candle_core::{D, DType, Tensor};

    use super::RowLosses;
    use crate::error::Result;

    /// The negative log-likelihoods `[rows]`; candle can differentiate them.
    ///
    /// # Errors
    /// As [`super::cross_entropy`].
    pub fn nll(logits: &Tensor, targets: &[u32]) -> Result<Tensor> {
        super::check(logits, targets)?;
        let targets = Tensor::from_slice(targets, (targets.len(), 1), logits.device())?;
        let largest = logits.max_keepdim(D::Minus1)?.detach();
        let shifted = logits.broadcast_sub(&largest)?;
        let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
        let own = shifted.gather(&targets, D::Minus1)?;
        Ok((log_sum - own)?.squeeze(D::Minus1)?)
    }

    /// See [`super::cross_entropy_forward`].
    ///
    /// # Errors
    /// As [`super::cross_entropy`].
    pub fn cross_entropy_forward(logits: &Tensor, targets: &[u32]) -> Result<RowLosses> {
        let nll = nll(logits, targets)?.to_dtype(DType::F32)?.to_vec1()?;
        let best = logits.argmax(D::Minus1)?.to_vec1::<u32>()?;
        let correct = best.iter().zip(targets).map(|(a, b)| a == b).collect();
        Ok(RowLosses { nll, correct })
    }

    /// See [`super::cross_entropy`]; the logits stay as they are.
    ///
    /// # Errors
    /// As [`super::cross_entropy`].
    pub fn cross_entropy(logits: &Tensor, targets: &[u32], scale: f32) -> Result<(RowLosses, Tensor)> {
        let losses = cross_entropy_forward(logits, targets)?;
        let largest = logits.max_keepdim(D::Minus1)?;
        let e = logits.broadcast_sub(&largest)?.exp()?;
        let p = e.broadcast_div(&e.sum_keepdim(D::Minus1)?)?;
        let ids = Tensor::from_slice(targets, (targets.len(), 1), logits.device())?;
        let ones = Tensor::ones((targets.len(), 1), logits.dtype(), logits.device())?;
        let hot = p.zeros_like()?.scatter_add(&ids, &ones, D::Minus1)?;
        Ok((losses, ((p - hot)? * f64::from(scale))?))
    }
}
