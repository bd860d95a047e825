//! In what frozen matrices are held.

use candle_core::{DType, Tensor};
use ft_kernels::quant::Kind;

/// How the matrices of the blocks are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bits {
    /// As Q8_0: a byte an element, and a scale in 16 bits for each 32.
    EightBit,
    /// Half a byte an element and a scale for each 64 ("QLoRA", section 3).
    FourBit {
        /// What the codes stand for.
        kind: Kind,
        /// Whether the scales are held in 8 bits.
        double: bool,
    },
    /// As the file has them: a GGUF's own blocks, bitsandbytes' codes, or floats.
    AsIs,
}

/// How the matrices are held, and so, sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// As f32, bf16 or f16.
    Float(DType),
    /// In few bits: what is sent is the codes, which are expanded where they arrive.
    Packed(Bits),
}

/// The bytes of a tensor's elements.
pub(crate) fn tensor_bytes(tensor: &Tensor) -> u64 {
    (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64
}
