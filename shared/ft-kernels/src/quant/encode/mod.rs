//! Making the blocks of GGUF files: the reference formulas of llama.cpp (`ggml/src/ggml-quants.c`,
//! `quantize_row_*_ref`), operation by operation, so that the bytes are those of its own quantiser without an importance
//! matrix. A block depends on its own elements alone.

mod by_256;
mod by_32;
mod search;

use candle_core::quantized::GgmlDType;

use crate::error::{Result, expect_shape};

/// Writes `values` as whole blocks of the type `kind` into `out`, on this thread. All values must be finite.
///
/// # Errors
/// If `out` is not the bytes of `values`' blocks, or `kind` is none of Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K and Q6_K.
pub fn encode_blocks(kind: GgmlDType, values: &[f32], out: &mut [u8]) -> Result<()> {
    let (block, size) = (kind.block_size(), kind.type_size());
    expect_shape(
        values.len().is_multiple_of(block) && out.len() == values.len() / block * size,
        "making blocks",
        "the bytes",
        format!("whole blocks of {kind:?} for {} elements", values.len()),
        format!("{} bytes", out.len()),
    )?;
    match kind {
        GgmlDType::Q8_0 => each(values, out, by_32::q8_0),
        GgmlDType::Q4_0 => each(values, out, by_32::q4_0),
        GgmlDType::Q4_1 => each(values, out, by_32::q4_1),
        GgmlDType::Q5_0 => each(values, out, by_32::q5_0),
        GgmlDType::Q5_1 => each(values, out, by_32::q5_1),
        GgmlDType::Q4K => each(values, out, by_256::q4_k),
        GgmlDType::Q5K => each(values, out, by_256::q5_k),
        GgmlDType::Q6K => each(values, out, by_256::q6_k),
        other => return Err(candle_core::Error::Msg(format!("blocks of {other:?} are not made here")).into()),
    }
    Ok(())
}

/// Block by block, of `N` elements and `M` bytes.
fn each<const N: usize, const M: usize>(values: &[f32], out: &mut [u8], one: fn(&[f32; N], &mut [u8; M])) {
    values.as_chunks().0.iter().zip(out.as_chunks_mut().0).for_each(|(values, out)| one(values, out));
}
