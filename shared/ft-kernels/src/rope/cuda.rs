//! Rotations by a kernel of our own, `kernels/rope.cu`, in place.

use candle_core::{DType, Tensor};

use super::{Direction, RopeTables};
use crate::cuda::{Grid, Launch, block_of};
use crate::error::Result;

/// See [`super::rope`]; `x`'s own memory takes the result.
pub fn rope(x: &Tensor, tables: &RopeTables, heads: usize, head_dim: usize, direction: Direction) -> Result<Tensor> {
    let (x, dtype) = (x.contiguous()?, x.dtype());
    let (rows, columns) = x.dims2()?;
    let (cos, sin) = tables.on(x.device())?;
    let sign = if direction == Direction::Forward { 1.0 } else { -1.0 };
    let call = Launch::new("rope", "rope", dtype).change(&x).read_as(&cos, DType::F32).read_as(&sin, DType::F32);
    let call = call.int(columns).int(heads).int(head_dim).int(tables.half).int(tables.pairs.into()).f32(sign);
    // SAFETY: the operator has checked that `heads` heads lie within a row, and that the tables have as many rows.
    unsafe { call.run(Grid::line(rows, block_of(heads * tables.half, dtype, 512)))? };
    Ok(x)
}
