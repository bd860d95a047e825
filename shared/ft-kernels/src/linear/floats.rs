//! The numbers of a frozen matrix, where they lie.

use candle_core::{DType, Result, Storage, Tensor};
use half::{bf16, f16};

use crate::skinny::Weights;

/// Calls `f` with the elements of a contiguous matrix of any float type on the CPU.
pub(super) fn with_weights<R>(weight: &Tensor, f: impl FnOnce(Weights<'_>) -> R) -> Result<R> {
    let (storage, layout) = weight.storage_and_layout();
    let (Storage::Cpu(storage), Some((from, to))) = (&*storage, layout.contiguous_offsets()) else {
        candle_core::bail!("a fused product needs a contiguous matrix on the CPU");
    };
    let weights = match weight.dtype() {
        DType::F32 => Weights::F32(&storage.as_slice::<f32>()?[from..to]),
        DType::BF16 => Weights::Bf16(&storage.as_slice::<bf16>()?[from..to]),
        DType::F16 => Weights::F16(&storage.as_slice::<f16>()?[from..to]),
        other => candle_core::bail!("a frozen matrix is f32, bf16 or f16, found {other:?}"),
    };
    Ok(f(weights))
}
