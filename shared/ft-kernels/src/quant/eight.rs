//! Eight bits an element: Q8_0.

use rayon::prelude::*;

use super::block::{BLOCK, BYTES, Q8Block};
use super::blocks::{Blocks, GgufBlocks};
use super::kernels::Round8;
use crate::error::{Result, expect_shape};
use crate::simd::{Isa, dispatch};

/// Elements of a piece of work, whole blocks.
const PIECE: usize = 2048 * BLOCK;

/// A matrix in blocks of 32 signed bytes and a scale in 16 bits, laid out as in a GGUF file.
///
/// Unlike there a block takes no notice of where a row ends, and the last block may be short: then it is filled up
/// with zeros.
#[derive(Debug, Clone, PartialEq)]
pub struct EightBit {
    blocks: Vec<Q8Block>,
    len: usize,
}

impl EightBit {
    /// Rounds `values` to the nearest bytes, with all threads: a block's scale is its largest magnitude / 127.
    pub fn quantise(values: &[f32]) -> Self {
        let mut blocks = vec![[0; BYTES]; values.len().div_ceil(BLOCK)];
        blocks
            .par_chunks_mut(PIECE / BLOCK)
            .zip(values.par_chunks(PIECE))
            .for_each(|(blocks, values)| dispatch(Isa::best(), Round8 { values, blocks }));
        Self { blocks, len: values.len() }
    }

    /// A matrix of `len` elements from a file's blocks.
    ///
    /// # Errors
    /// If the bytes are not those of the blocks that `len` asks for.
    pub fn from_bytes(bytes: &[u8], len: usize) -> Result<Self> {
        let expected = Self::bytes_for(len);
        expect_shape(bytes.len() == expected, "8-bit matrix", "the bytes", expected, bytes.len())?;
        Ok(Self { blocks: bytes.as_chunks().0.to_vec(), len })
    }

    /// The bytes that a matrix of `len` elements takes.
    pub fn bytes_for(len: usize) -> usize {
        len.div_ceil(BLOCK) * BYTES
    }

    /// The blocks, one after the other.
    pub fn as_bytes(&self) -> &[u8] {
        self.blocks.as_flattened()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.blocks.len() * BYTES
    }

    /// Its blocks where they lie.
    pub fn blocks(&self) -> Blocks<'_> {
        Blocks::Gguf(GgufBlocks::Q8_0(&self.blocks))
    }

    /// Writes the elements to `out`, with all threads.
    ///
    /// # Errors
    /// If `out` has another number of elements.
    pub fn expand(&self, out: &mut [f32]) -> Result<()> {
        expect_shape(out.len() == self.len, "expanding 8 bits", "the output", self.len, out.len())?;
        let parts = out.par_chunks_mut(PIECE).enumerate();
        parts.try_for_each(|(i, out)| self.blocks().expand(Isa::best(), i * PIECE, out))
    }

    /// Writes the elements from number `start` on, as many as there is room for, on this thread.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn expand_part(&self, start: usize, out: &mut [f32]) -> Result<()> {
        let wanted = start + out.len();
        expect_shape(wanted <= self.len, "expanding 8 bits", "the elements", wanted, self.len)?;
        self.blocks().expand(Isa::best(), start, out)
    }
}
