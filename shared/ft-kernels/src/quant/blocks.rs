//! The blocks of GGUF files.

use candle_core::quantized::k_quants::{
    BlockQ2K, BlockQ3K, BlockQ4_0, BlockQ4_1, BlockQ4K, BlockQ5_0, BlockQ5_1, BlockQ5K, BlockQ6K,
};
use candle_core::quantized::{GgmlDType, GgmlType};

use super::kernels::Expand8;
use crate::error::{Result, expect_shape};
use crate::simd::{Isa, dispatch};

/// Writes what `bytes`, whole blocks of the type `kind`, stand for, on this thread: candle's own expansion without its
/// copies, and for Q8_0 this crate's. The bytes must be aligned to two.
///
/// # Errors
/// If the bytes are not those of `out.len()` elements, or `kind` has no blocks, or is llama.cpp's for activations.
pub fn expand_blocks(kind: GgmlDType, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    let blocks = out.len() / kind.block_size();
    expect_shape(
        out.len().is_multiple_of(kind.block_size()) && bytes.len() == blocks * kind.type_size(),
        "expanding blocks",
        "the bytes",
        format!("whole blocks of {kind:?} for {} elements", out.len()),
        format!("{} bytes", bytes.len()),
    )?;
    match kind {
        GgmlDType::Q8_0 => dispatch(Isa::best(), Expand8 { blocks: bytes.as_chunks().0, out }),
        GgmlDType::Q4_0 => by_candle::<BlockQ4_0>(bytes, out)?,
        GgmlDType::Q4_1 => by_candle::<BlockQ4_1>(bytes, out)?,
        GgmlDType::Q5_0 => by_candle::<BlockQ5_0>(bytes, out)?,
        GgmlDType::Q5_1 => by_candle::<BlockQ5_1>(bytes, out)?,
        GgmlDType::Q2K => by_candle::<BlockQ2K>(bytes, out)?,
        GgmlDType::Q3K => by_candle::<BlockQ3K>(bytes, out)?,
        GgmlDType::Q4K => by_candle::<BlockQ4K>(bytes, out)?,
        GgmlDType::Q5K => by_candle::<BlockQ5K>(bytes, out)?,
        GgmlDType::Q6K => by_candle::<BlockQ6K>(bytes, out)?,
        other => return Err(candle_core::Error::Msg(format!("{other:?} has no blocks for weights")).into()),
    }
    Ok(())
}

/// candle's expansion of `T`, one of its types for blocks of weights.
fn by_candle<T: GgmlType>(bytes: &[u8], out: &mut [f32]) -> Result<()> {
    // SAFETY: candle's blocks for weights are `repr(C)` structures of bytes and 16-bit numbers without padding, so that
    // any bytes are a value.
    let (before, blocks, after) = unsafe { bytes.align_to::<T>() };
    let aligned = before.is_empty() && after.is_empty();
    expect_shape(aligned, "expanding blocks", "the bytes' address", "a multiple of 2", "an odd one")?;
    T::to_float(blocks, out);
    Ok(())
}
