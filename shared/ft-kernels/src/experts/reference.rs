//! Routing in candle operations, on any device.

use candle_core::{D, DType, Device, Tensor};

use super::{Routing, likeliest_after};
use crate::error::Result;

/// See [`super::route`]; the weights are those of [`weights`].
///
/// # Errors
/// As [`super::route`].
pub fn route(logits: &Tensor, k: usize, normalise: bool) -> Result<Routing> {
    let rows: Vec<Vec<f32>> = logits.to_dtype(DType::F32)?.to_vec2()?;
    let mut experts = Vec::with_capacity(rows.len() * k);
    for row in rows {
        let mut last = None;
        for _ in 0..k {
            let best = likeliest_after(&row, last);
            experts.push(best as u32);
            last = Some(best);
        }
    }
    let weights = weights(logits, &experts, normalise)?;
    Ok(Routing { experts, weights, normalised: normalise })
}

/// The weights of the chosen `experts`; candle can differentiate them.
///
/// # Errors
/// If the shapes do not fit.
pub fn weights(logits: &Tensor, experts: &[u32], normalise: bool) -> Result<Tensor> {
    let chosen = softmax(logits)?.gather(&places(experts, logits)?, D::Minus1)?;
    Ok(if normalise { chosen.broadcast_div(&chosen.sum_keepdim(D::Minus1)?)? } else { chosen })
}

/// See [`super::route_backward`].
///
/// # Errors
/// As [`super::route_backward`].
pub fn route_backward(dweights: &Tensor, routing: &Routing, logits: &Tensor) -> Result<Tensor> {
    let w = &routing.weights;
    let mean = (dweights * w)?.sum_keepdim(D::Minus1)?;
    let (within, base) = if routing.normalised {
        (dweights.broadcast_sub(&mean)?, logits.zeros_like()?)
    } else {
        (dweights.clone(), softmax(logits)?.broadcast_mul(&mean.neg()?)?)
    };
    Ok(base.scatter_add(&places(&routing.experts, logits)?, &(within * w)?, D::Minus1)?)
}

/// See [`super::gather_rows`]; candle can differentiate it for `x`.
///
/// # Errors
/// As [`super::gather_rows`].
pub fn gather_rows(x: &Tensor, rows: &[u32], weights: Option<&[f32]>) -> Result<Tensor> {
    let y = x.index_select(&Tensor::new(rows, x.device())?, 0)?;
    weighted(&y, weights)
}

/// See [`super::scatter_add_weighted`]; `y` is left as it is, and candle can differentiate it for `y`
/// and `part`.
///
/// # Errors
/// As [`super::scatter_add_weighted`].
pub fn scatter_add(y: &Tensor, part: &Tensor, rows: &[u32], weights: Option<&[f32]>) -> Result<Tensor> {
    Ok(y.index_add(&Tensor::new(rows, y.device())?, &weighted(part, weights)?, 0)?)
}

/// See [`super::row_dots`].
///
/// # Errors
/// As [`super::row_dots`].
pub fn row_dots(dy: &Tensor, part: &Tensor, rows: &[u32]) -> Result<Vec<f32>> {
    let products = (gather_rows(dy, rows, None)? * part)?.sum(D::Minus1)?;
    Ok(products.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.to_vec1()?)
}

fn weighted(x: &Tensor, weights: Option<&[f32]>) -> Result<Tensor> {
    let Some(weights) = weights else { return Ok(x.clone()) };
    let weights = Tensor::from_slice(weights, (weights.len(), 1), x.device())?;
    Ok(x.broadcast_mul(&weights.to_dtype(x.dtype())?)?)
}

fn softmax(logits: &Tensor) -> Result<Tensor> {
    let largest = logits.max_keepdim(D::Minus1)?.detach();
    let e = logits.broadcast_sub(&largest)?.exp()?;
    Ok(e.broadcast_div(&e.sum_keepdim(D::Minus1)?)?)
}

/// The chosen experts as `[tokens, k]`.
fn places(experts: &[u32], logits: &Tensor) -> Result<Tensor> {
    let tokens = logits.dims()[0];
    Ok(Tensor::from_slice(experts, (tokens, experts.len() / tokens.max(1)), logits.device())?)
}
