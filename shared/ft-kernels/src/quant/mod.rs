//! Frozen matrices in few bits, and how they become `f32` again.
//!
//! * [`FourBit`]: NF4 and FP4 with a scale for each block of 64 elements, and, if wished, the scales themselves in
//!   8 bits (Dettmers et al., "QLoRA: Efficient Finetuning of Quantized LLMs", 2023, section 3); the codes, the order of
//!   the half bytes and the blocks are those of bitsandbytes.
//! * [`EightBit`]: blocks of 32 signed bytes with a scale in 16 bits, the Q8_0 of GGUF files.
//! * [`ByteRows`]: a signed byte an element and a scale a row, the weights of bitsandbytes' `LLM.int8()`
//!   (Dettmers et al., 2022, section 3).
//! * [`expand_blocks`]: the other blocks of GGUF files; [`encode_blocks`] makes some of them.
//!
//! The elements of a matrix are counted row by row, and blocks take no notice of where a row ends. Expanding is split
//! by blocks, so that its bits do not depend on the threads, and runs on the machine's best instruction set, which
//! changes no bit. What an element expands to is in [`reference`] once more,
//! in candle operations.

mod absmax;
mod block;
mod blocks;
mod eight;
mod encode;
mod four;
mod kernels;
mod kind;
pub mod reference;
mod rows;

pub use absmax::{Absmax, Nested, Second};
pub use blocks::expand_blocks;
pub use eight::EightBit;
pub use encode::encode_blocks;
pub use four::{BLOCK, FourBit, Part};
pub use kind::Kind;
pub use rows::ByteRows;

#[cfg(test)]
mod tests;
