//! What the packed matrices stand for, in candle operations; runs on every device.

use candle_core::{DType, Device, Tensor};

use super::{Absmax, FourBit, Nested};
use crate::error::Result;

/// The elements of a four-bit matrix, `[len]`, f32: each code's number times its block's scale.
///
/// # Errors
/// If candle refuses an operation.
pub fn expand_four_bit(matrix: &FourBit, device: &Device) -> Result<Tensor> {
    let bytes = Tensor::from_slice(matrix.packed(), matrix.packed().len(), device)?;
    // A half byte by arithmetic: candle has no shift.
    let upper = (bytes.to_dtype(DType::F32)? / 16.0)?.floor()?;
    let lower = (bytes.to_dtype(DType::F32)? - (&upper * 16.0)?)?;
    let codes = Tensor::stack(&[upper, lower], 1)?.flatten_all()?.to_dtype(DType::U32)?;
    let table = Tensor::from_slice(matrix.kind().table(), 16, device)?;
    let numbers = table.index_select(&codes, 0)?.narrow(0, 0, matrix.len())?;
    Ok((numbers * spread(&scales(matrix.absmax(), device)?, matrix.block(), matrix.len())?)?)
}

/// A four-bit matrix's scales, f32.
fn scales(absmax: &Absmax, device: &Device) -> Result<Tensor> {
    Ok(match absmax {
        Absmax::Plain(values) => Tensor::from_slice(values, values.len(), device)?,
        Absmax::Nested(nested) => expand_nested(nested, device)?,
    })
}

/// Scales that are held in 8 bits: the map's value times the block's scale, plus the offset.
fn expand_nested(nested: &Nested, device: &Device) -> Result<Tensor> {
    let codes = Tensor::from_slice(nested.codes(), nested.codes().len(), device)?.to_dtype(DType::U32)?;
    let map = Tensor::from_slice(nested.second().map.as_slice(), 256, device)?.index_select(&codes, 0)?;
    let scales = Tensor::from_slice(nested.second().scales.as_slice(), nested.second().scales.len(), device)?;
    let product = (map * spread(&scales, 256, nested.codes().len())?)?;
    Ok(product.broadcast_add(&Tensor::new(nested.second().offset, device)?)?)
}

/// Each of `values` `times` times, cut to `len`.
fn spread(values: &Tensor, times: usize, len: usize) -> Result<Tensor> {
    let wide = values.unsqueeze(1)?.repeat((1, times))?.flatten_all()?;
    Ok(wide.narrow(0, 0, len)?)
}
