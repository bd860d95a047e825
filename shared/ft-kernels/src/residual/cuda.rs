//! Scaled additions by a kernel of our own, `kernels/residual.cu`, in place.

use candle_core::Tensor;

use crate::cuda::{Grid, Launch, aligned, parts};
use crate::error::Result;

/// Elements of a block, as the kernel has it.
const PART: usize = 4096;

/// `base + factor * y`, or `factor * y`, in `y`'s own memory.
pub fn add_scaled(base: Option<&Tensor>, y: &Tensor, factor: f32) -> Result<Tensor> {
    let (y, base) = (aligned(y)?, base.map(aligned).transpose()?);
    let len = y.elem_count();
    let call = Launch::new("residual", "add_scaled", y.dtype()).read_any(base.as_ref()).change(&y).u64(len).f32(factor);
    // SAFETY: both have `len` elements.
    unsafe { call.run(Grid::line(parts(len, PART), 256))? };
    Ok(y)
}
