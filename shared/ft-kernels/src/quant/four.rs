//! Four bits an element: NF4 and FP4.

use rayon::prelude::*;

use super::absmax::{Absmax, Nested, Second};
use super::blocks::Blocks;
use super::kernels::Round4;
use super::kind::Kind;
use crate::error::{Result, expect_shape};
use crate::simd::{Isa, dispatch};

/// Elements that share a scale, unless a file says otherwise.
pub const BLOCK: usize = 64;
/// Elements of a piece of work; a multiple of every block.
const PIECE: usize = 1 << 16;

/// A matrix in four bits an element.
#[derive(Debug, Clone, PartialEq)]
pub struct FourBit {
    kind: Kind,
    block: usize,
    packed: Vec<u8>,
    absmax: Absmax,
    len: usize,
}

impl FourBit {
    /// Rounds `values` to the nearest codes in blocks of [`BLOCK`], with all threads. With `double` the scales are held
    /// in 8 bits ("QLoRA", section 3, "Double Quantization").
    pub fn quantise(values: &[f32], kind: Kind, double: bool) -> Self {
        let mut packed = vec![0; values.len().div_ceil(2)];
        let mut absmax = vec![0.0; values.len().div_ceil(BLOCK)];
        packed
            .par_chunks_mut(PIECE / 2)
            .zip(absmax.par_chunks_mut(PIECE / BLOCK))
            .zip(values.par_chunks(PIECE))
            .for_each(|((packed, absmax), values)| {
                dispatch(Isa::best(), Round4 { kind, block: BLOCK, values, packed, absmax });
            });
        let absmax = if double { Absmax::Nested(Nested::quantise(&absmax)) } else { Absmax::Plain(absmax) };
        Self { kind, block: BLOCK, packed, absmax, len: values.len() }
    }

    /// A matrix of `len` elements from its parts: two codes a byte, the first in the upper half, and the scales of the
    /// blocks of `block` elements.
    ///
    /// # Errors
    /// If the block is no power of two from 32 to 4096, or the parts have not the numbers of bytes and scales that
    /// `len` asks for.
    pub fn from_parts(kind: Kind, block: usize, packed: Vec<u8>, absmax: Absmax, len: usize) -> Result<Self> {
        let fits = block.is_power_of_two() && (32..=4096).contains(&block);
        expect_shape(fits, "4-bit matrix", "the block", "a power of two from 32 to 4096", block)?;
        expect_shape(packed.len() == len.div_ceil(2), "4-bit matrix", "the codes", len.div_ceil(2), packed.len())?;
        let blocks = len.div_ceil(block);
        expect_shape(absmax.len() == blocks, "4-bit matrix", "the scales", blocks, absmax.len())?;
        Ok(Self { kind, block, packed, absmax, len })
    }

    /// The bytes that a matrix of `len` elements takes: codes and scales, and what the scales are expanded with where
    /// they have 8 bits, as `double` says.
    pub fn bytes_for(len: usize, double: bool) -> (usize, usize) {
        let (codes, scales) = (len.div_ceil(2), len.div_ceil(BLOCK));
        if double {
            (codes + scales, Second::bytes_for(scales.div_ceil(Second::BLOCK)))
        } else {
            (codes + 4 * scales, 0)
        }
    }

    /// What the codes stand for.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Elements that share a scale.
    pub fn block(&self) -> usize {
        self.block
    }

    /// Two codes a byte, the first in the upper half.
    pub fn packed(&self) -> &[u8] {
        &self.packed
    }

    /// The blocks' scales.
    pub fn absmax(&self) -> &Absmax {
        &self.absmax
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes that codes and scales take.
    pub fn bytes(&self) -> usize {
        self.packed.len() + self.absmax.bytes()
    }

    /// Its codes and scales where they lie.
    pub fn blocks(&self) -> Blocks<'_> {
        let Self { kind, block, packed, absmax, .. } = self;
        Blocks::Four { kind: *kind, block: *block, packed, scales: absmax.into() }
    }

    /// Writes the elements to `out`, with all threads.
    ///
    /// # Errors
    /// If `out` has another number of elements.
    pub fn expand(&self, out: &mut [f32]) -> Result<()> {
        expect_shape(out.len() == self.len, "expanding 4 bits", "the output", self.len, out.len())?;
        let parts = out.par_chunks_mut(PIECE / 2).enumerate();
        parts.try_for_each(|(i, out)| self.blocks().expand(Isa::best(), i * (PIECE / 2), out))
    }

    /// Writes the elements from number `start` on, as many as there is room for, on this thread.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn expand_part(&self, start: usize, out: &mut [f32]) -> Result<()> {
        let end = start + out.len();
        expect_shape(end <= self.len, "expanding 4 bits", "the elements", end, self.len)?;
        self.blocks().expand(Isa::best(), start, out)
    }
}
