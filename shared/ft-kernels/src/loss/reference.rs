//! The loss in candle operations, on any device.

use candle_core::{D, DType, Tensor};

use super::{LogitShape, RowLosses, check};
use crate::error::Result;

/// See [`super::shape_logits`]; the logits stay as they are, and candle can differentiate it.
///
/// # Errors
/// If candle refuses an operation.
pub fn shape_logits(logits: &Tensor, shape: LogitShape) -> Result<Tensor> {
    let scaled = (logits * f64::from(shape.scale))?;
    Ok(match shape.softcap {
        None => scaled,
        Some(cap) => ((scaled / f64::from(cap))?.tanh()? * f64::from(cap))?,
    })
}

/// The negative log-likelihoods `[rows]`; candle can differentiate them.
///
/// # Errors
/// As [`super::cross_entropy`].
pub fn nll(logits: &Tensor, targets: &[u32], shape: LogitShape) -> Result<Tensor> {
    check(logits, targets)?;
    let logits = shape_logits(logits, shape)?;
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
pub fn cross_entropy_forward(logits: &Tensor, targets: &[u32], shape: LogitShape) -> Result<RowLosses> {
    let nll = nll(logits, targets, shape)?.to_dtype(DType::F32)?.to_vec1()?;
    let best = shape_logits(logits, shape)?.argmax(D::Minus1)?.to_vec1::<u32>()?;
    let correct = best.iter().zip(targets).map(|(a, b)| a == b).collect();
    Ok(RowLosses { nll, correct })
}

/// See [`super::cross_entropy`]; the logits stay as they are.
///
/// # Errors
/// As [`super::cross_entropy`].
pub fn cross_entropy(logits: &Tensor, targets: &[u32], scale: f32, shape: LogitShape) -> Result<(RowLosses, Tensor)> {
    let losses = cross_entropy_forward(logits, targets, shape)?;
    let logits = shape_logits(logits, shape)?;
    let largest = logits.max_keepdim(D::Minus1)?;
    let e = logits.broadcast_sub(&largest)?.exp()?;
    let p = e.broadcast_div(&e.sum_keepdim(D::Minus1)?)?;
    let ids = Tensor::from_slice(targets, (targets.len(), 1), logits.device())?;
    let ones = Tensor::ones((targets.len(), 1), logits.dtype(), logits.device())?;
    let hot = p.zeros_like()?.scatter_add(&ids, &ones, D::Minus1)?;
    let gradient = ((p - hot)? * f64::from(scale * shape.scale))?;
    Ok(match shape.softcap {
        None => (losses, gradient),
        Some(cap) => (losses, (gradient * (1.0 - (logits / f64::from(cap))?.sqr()?)?)?),
    })
}
