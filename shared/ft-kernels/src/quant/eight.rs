//! Eight bits an element: Q8_0.

use rayon::prelude::*;

use super::block::{BLOCK, BYTES, Q8Block};
use super::kernels::{Expand8, Round8};
use crate::error::{Result, expect_shape};
use crate::parallel::for_row_blocks;
use crate::simd::{Isa, dispatch};

/// Blocks of a piece of work.
const PIECE: usize = 2048;

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
            .par_chunks_mut(PIECE)
            .zip(values.par_chunks(PIECE * BLOCK))
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

    /// Writes the elements to `out`, with all threads.
    ///
    /// # Errors
    /// If `out` has another number of elements.
    pub fn expand(&self, out: &mut [f32]) -> Result<()> {
        expect_shape(out.len() == self.len, "expanding 8 bits", "the output", self.len, out.len())?;
        for_row_blocks(out, BLOCK, |first, out| dispatch(Isa::best(), Expand8 { blocks: &self.blocks[first..], out }));
        Ok(())
    }

    /// Writes the elements from number `start` on, as many as there is room for, on this thread.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn expand_part(&self, start: usize, out: &mut [f32]) -> Result<()> {
        let wanted = start + out.len();
        expect_shape(wanted <= self.len, "expanding 8 bits", "the elements", wanted, self.len)?;
        // Up to the next block's start by way of a whole block.
        let skip = start % BLOCK;
        let head = (start.next_multiple_of(BLOCK) - start).min(out.len());
        let (head, out) = out.split_at_mut(head);
        if !head.is_empty() {
            let mut block = [0.0; BLOCK];
            dispatch(Isa::best(), Expand8 { blocks: &self.blocks[start / BLOCK..], out: &mut block });
            head.copy_from_slice(&block[skip..][..head.len()]);
        }
        if !out.is_empty() {
            dispatch(Isa::best(), Expand8 { blocks: &self.blocks[start.div_ceil(BLOCK)..], out });
        }
        Ok(())
    }
}
