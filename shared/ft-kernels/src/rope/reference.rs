//! The same in candle operations, on any device.

use candle_core::{D, Tensor};

use super::{Direction, RopeTables};
use crate::error::Result;

/// See [`super::rope`]; `x` is left as it is, and candle can differentiate it.
///
/// # Errors
/// If the shapes do not fit.
pub fn rope(x: &Tensor, tables: &RopeTables, heads: usize, head_dim: usize, direction: Direction) -> Result<Tensor> {
    let columns = super::check(x, tables, heads, head_dim)?;
    let (rows, half, turned) = (tables.rows, tables.half, heads * head_dim);
    let (cos, sin) = tables.on(x.device())?;
    let (cos, sin) = (cos.to_dtype(x.dtype())?, sin.to_dtype(x.dtype())?);
    let sin = match direction {
        Direction::Forward => sin,
        Direction::Backward => sin.neg()?,
    };
    let h = x.narrow(1, 0, turned)?.reshape((rows, heads, head_dim))?;
    let turn = |a: Tensor, b: Tensor| -> Result<[Tensor; 2]> {
        let new_a = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
        Ok([new_a, (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?])
    };
    let mut parts = if tables.pairs {
        let pairs = h.narrow(D::Minus1, 0, 2 * half)?.reshape((rows, heads, half, 2))?;
        let own = |i| -> Result<Tensor> { Ok(pairs.narrow(D::Minus1, i, 1)?.squeeze(D::Minus1)?) };
        vec![Tensor::stack(&turn(own(0)?, own(1)?)?, D::Minus1)?.reshape((rows, heads, 2 * half))?]
    } else {
        turn(h.narrow(D::Minus1, 0, half)?, h.narrow(D::Minus1, half, half)?)?.into()
    };
    if 2 * half < head_dim {
        parts.push(h.narrow(D::Minus1, 2 * half, head_dim - 2 * half)?);
    }
    let h = Tensor::cat(&parts, D::Minus1)?.reshape((rows, turned))?;
    if turned == columns {
        return Ok(h);
    }
    let rest = x.narrow(1, turned, columns - turned)?;
    Ok(Tensor::cat(&[h, rest], 1)?)
}
