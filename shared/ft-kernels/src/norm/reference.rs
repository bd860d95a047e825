//! The norms in candle operations, on any device.

use candle_core::{D, Tensor};

use crate::error::Result;

/// See [`super::rms_norm`]; candle can differentiate it.
///
/// # Errors
/// If the shapes do not fit.
pub fn rms_norm(x: &Tensor, w: &Tensor, eps: f64) -> Result<Tensor> {
    Ok(x.broadcast_mul(&inverse_rms(x, eps)?)?.broadcast_mul(w)?)
}

/// See [`super::rms_norm_backward`].
///
/// # Errors
/// If the shapes do not fit.
pub fn rms_norm_backward(dy: &Tensor, x: &Tensor, w: &Tensor, eps: f64) -> Result<Tensor> {
    let s = inverse_rms(x, eps)?;
    let g = dy.broadcast_mul(w)?;
    let along = (&g * x)?.mean_keepdim(D::Minus1)?;
    let back = (along * s.powf(3.0)?)?;
    Ok((g.broadcast_mul(&s)? - x.broadcast_mul(&back)?)?)
}

fn inverse_rms(x: &Tensor, eps: f64) -> Result<Tensor> {
    let mean = x.sqr()?.mean_keepdim(D::Minus1)?;
    Ok((mean + eps)?.sqrt()?.recip()?)
}

/// See [`super::layer_norm`]; candle can differentiate it.
///
/// # Errors
/// If the shapes do not fit.
pub fn layer_norm(x: &Tensor, w: &Tensor, b: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    let (centred, s) = moments(x, eps)?;
    let y = centred.broadcast_mul(&s)?.broadcast_mul(w)?;
    Ok(match b {
        Some(b) => y.broadcast_add(b)?,
        None => y,
    })
}

/// The gradient for `x` of [`super::layer_norm`].
///
/// # Errors
/// If the shapes do not fit.
pub fn layer_norm_backward(dy: &Tensor, x: &Tensor, w: &Tensor, eps: f64) -> Result<Tensor> {
    let (centred, s) = moments(x, eps)?;
    let g = dy.broadcast_mul(w)?;
    let along = ((&g * &centred)?.mean_keepdim(D::Minus1)? * s.sqr()?)?;
    let g = g.broadcast_sub(&g.mean_keepdim(D::Minus1)?)?;
    Ok((g - centred.broadcast_mul(&along)?)?.broadcast_mul(&s)?)
}

/// The rows less their means, and 1 / sqrt(var + eps).
fn moments(x: &Tensor, eps: f64) -> Result<(Tensor, Tensor)> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let s = inverse_rms(&centred, eps)?;
    Ok((centred, s))
}
