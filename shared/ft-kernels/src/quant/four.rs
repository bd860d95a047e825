//! Four bits an element: NF4 and FP4.

use std::fmt;

use rayon::prelude::*;

use super::absmax::{Absmax, Nested, Second};
use super::kernels::{Expand4, Round4};
use crate::error::{Result, expect_shape};
use crate::simd::{Isa, dispatch};

/// Elements that share a scale, unless a file says otherwise.
pub const BLOCK: usize = 64;
/// Elements of a piece of work; a multiple of every block.
const PIECE: usize = 1 << 16;

/// What the 16 codes stand for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// The quantiles of a normal distribution, with 0 among them ("QLoRA", section 3 and appendix E).
    #[default]
    Nf4,
    /// A sign, two bits of exponent and one of fraction, the largest scaled to 1.
    Fp4,
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "nf4" => Ok(Self::Nf4),
            "fp4" => Ok(Self::Fp4),
            _ => Err("expected nf4 or fp4".into()),
        }
    }
}

/// bitsandbytes' numbers for NF4.
const NF4: [f32; 16] = [
    -1.0,
    -0.6961928,
    -0.52507305,
    -0.3949175,
    -0.28444138,
    -0.18477343,
    -0.091050036,
    0.0,
    0.0795803,
    0.1609302,
    0.2461123,
    0.33791524,
    0.44070983,
    0.562617,
    0.72295684,
    1.0,
];

/// bitsandbytes' FP4, in 192nds: the codes' three lower bits count 0, 1, 128, 192, 64, 96, 32, 48.
const FP4: [f32; 16] = {
    let mut all = [0.0; 16];
    let magnitudes = [0.0625f32, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0];
    let mut i = 0;
    while i < 7 {
        all[i + 1] = magnitudes[i] / 12.0;
        all[i + 9] = -all[i + 1];
        i += 1;
    }
    all
};

impl Kind {
    /// The name in bitsandbytes.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Nf4 => "nf4",
            Kind::Fp4 => "fp4",
        }
    }

    /// The kind that bitsandbytes calls so.
    pub fn from_name(name: &str) -> Option<Self> {
        [Kind::Nf4, Kind::Fp4].into_iter().find(|kind| kind.name() == name)
    }

    /// The numbers that the codes 0 to 15 stand for, of -1 to 1.
    pub fn table(self) -> &'static [f32; 16] {
        match self {
            Kind::Nf4 => &NF4,
            Kind::Fp4 => &FP4,
        }
    }

    /// The codes in the order of their numbers. FP4 has two zeros: 0, then 8.
    pub(super) fn order(self) -> [u8; 16] {
        match self {
            Kind::Nf4 => std::array::from_fn(|i| i as u8),
            Kind::Fp4 => [11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3],
        }
    }

    /// The middles between neighbouring numbers; one that lies on a middle takes the lower code.
    pub(super) fn bounds(self) -> [f32; 15] {
        let (table, order) = (self.table(), self.order());
        let at = |i: usize| table[usize::from(order[i])];
        std::array::from_fn(|i| f32::midpoint(at(i), at(i + 1)))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

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

    /// Writes the elements to `out`, with all threads.
    ///
    /// # Errors
    /// If `out` has another number of elements.
    pub fn expand(&self, out: &mut [f32]) -> Result<()> {
        expect_shape(out.len() == self.len, "expanding 4 bits", "the output", self.len, out.len())?;
        out.par_chunks_mut(PIECE / 2).enumerate().try_for_each(|(i, out)| {
            let first = i * (PIECE / 2) / self.block;
            let mut scales = vec![0.0; out.len().div_ceil(self.block)];
            self.absmax.fill(first, &mut scales)?;
            let packed = &self.packed[first * self.block / 2..];
            dispatch(Isa::best(), Expand4 { kind: self.kind, block: self.block, packed, scales: &scales, out });
            Ok(())
        })
    }
}

impl FourBit {
    /// Writes the elements from number `start` on, as many as there is room for, on this thread.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn expand_part(&self, start: usize, out: &mut [f32]) -> Result<()> {
        let end = start + out.len();
        expect_shape(end <= self.len, "expanding 4 bits", "the elements", end, self.len)?;
        let first = start / self.block;
        let mut scales = vec![0.0; end.div_ceil(self.block) - first];
        self.absmax.fill(first, &mut scales)?;
        let packed = &self.packed[first * self.block / 2..end.div_ceil(2)];
        Part { kind: self.kind, block: self.block, packed, scales: &scales }.expand(start - first * self.block, out)
    }
}

/// Some blocks of a matrix that is somewhere else, in a file.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// What the codes stand for.
    pub kind: Kind,
    /// Elements that share a scale: an even number.
    pub block: usize,
    /// The codes from the first block's start on.
    pub packed: &'a [u8],
    /// The scales from the first block's on.
    pub scales: &'a [f32],
}

impl Part<'_> {
    /// Writes the elements from number `skip` on to `out`, on this thread.
    ///
    /// # Errors
    /// If the part has fewer elements.
    pub fn expand(&self, skip: usize, out: &mut [f32]) -> Result<()> {
        let has = (self.packed.len() * 2).min(self.scales.len() * self.block);
        let wanted = skip + out.len();
        expect_shape(wanted <= has, "expanding 4 bits", "the part", format!("{wanted} elements"), has)?;
        // Up to the next block's start one by one.
        let head = (skip.next_multiple_of(self.block) - skip).min(out.len());
        let (head, out) = out.split_at_mut(head);
        for (i, x) in head.iter_mut().enumerate() {
            let at = skip + i;
            let byte = self.packed[at / 2];
            let code = if at.is_multiple_of(2) { byte >> 4 } else { byte & 15 };
            *x = self.kind.table()[usize::from(code)] * self.scales[at / self.block];
        }
        if !out.is_empty() {
            let first = (skip + head.len()) / self.block;
            let (packed, scales) = (&self.packed[first * self.block / 2..], &self.scales[first..]);
            dispatch(Isa::best(), Expand4 { kind: self.kind, block: self.block, packed, scales, out });
        }
        Ok(())
    }
}
