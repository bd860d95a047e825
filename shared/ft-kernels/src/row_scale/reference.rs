//! The same in candle operations, on any device.

use candle_core::Tensor;

use crate::error::Result;

/// See [`super::row_scale`]; `x` is left as it is, and candle can differentiate it.
///
/// # Errors
/// If the shapes do not fit.
pub fn row_scale(x: &Tensor, factors: &[f32], columns: usize) -> Result<Tensor> {
    let (rows, all) = x.dims2()?;
    let factors = Tensor::from_slice(factors, (rows, 1), x.device())?.to_dtype(x.dtype())?;
    let scaled = x.narrow(1, 0, columns)?.broadcast_mul(&factors)?;
    if columns == all {
        return Ok(scaled);
    }
    Ok(Tensor::cat(&[scaled, x.narrow(1, columns, all - columns)?], 1)?)
}
