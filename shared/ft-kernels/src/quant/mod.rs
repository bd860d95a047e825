//! Frozen matrices in few bits, and how they become `f32` again.
//!
//! * [`FourBit`]: NF4 and FP4 with a scale for each block of 64 elements, and, if wished, the scales themselves in
//!   8 bits (Dettmers et al., "QLoRA: Efficient Finetuning of Quantized LLMs", 2023, section 3); the codes, the order of
//!   the half bytes and the blocks are those of bitsandbytes.
//! * [`EightBit`]: blocks of 32 signed bytes with a scale in 16 bits, the Q8_0 of GGUF files.
//! * [`Blocks`]: these and all other codes that there are, where they lie in memory: a signed byte an element and a scale
//!   a row, the weights of bitsandbytes' `LLM.int8()` (Dettmers et al., 2022, section 3), and the blocks of GGUF files.
//! * [`encode_blocks`]: makes some of those.
//!
//! The elements of a matrix are counted row by row, and blocks take no notice of where a row ends. Each format says once,
//! in vectors, what its codes stand for (`Decode`); whatever reads blocks is compiled for each: the copy to floats
//! ([`expand_rows`]), the packing of a product (`gemm`), the product of a few rows (`skinny`). An element's bits depend
//! on its codes alone. What four bits expand to is in [`reference`] once more, in candle operations; the tests hold the
//! blocks of GGUF files to candle's own.

mod absmax;
mod block;
mod blocks;
mod codes;
mod cuda;
mod decode;
mod eight;
mod encode;
mod expand;
mod four;
mod k_quants;
mod kernels;
mod kind;
pub mod reference;
mod run;
mod scales;
mod thirty_two;

pub use absmax::{Absmax, Nested, Second};
pub use blocks::{Blocks, GgufBlocks};
pub use cuda::Placed;
pub(crate) use decode::{Decode, OnBlocks};
pub use eight::EightBit;
pub use encode::encode_blocks;
pub use four::{BLOCK, FourBit};
pub use kind::Kind;
pub use run::{BlockRows, Run, expand_rows};
pub use scales::Scales;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
