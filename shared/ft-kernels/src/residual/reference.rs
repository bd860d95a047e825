//! The same in candle operations, on any device.

use candle_core::Tensor;

use crate::error::Result;

/// See [`super::add_scaled`]; `y` is left as it is, and candle can differentiate it.
///
/// # Errors
/// If the shapes differ.
pub fn add_scaled(base: &Tensor, y: &Tensor, factor: f32) -> Result<Tensor> {
    Ok((base + scaled(y, factor)?)?)
}

/// See [`super::scaled`]; `y` is left as it is, and candle can differentiate it.
///
/// # Errors
/// If candle refuses an operation.
pub fn scaled(y: &Tensor, factor: f32) -> Result<Tensor> {
    Ok((y * f64::from(factor))?)
}
