//! Codes in memory with what they stand for, in each of the formats that there are.

use candle_core::quantized::GgmlDType;

use super::codes::{Bytes, Floats, Four};
use super::decode::{Decode, OnBlocks};
use super::expand::Rectangle;
use super::k_quants::{Q2K, Q3K, Q4K, Q5K, Q6K};
use super::kind::Kind;
use super::scales::Scales;
use super::thirty_two::{Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
use crate::error::{Result, expect_shape};
use crate::simd::Isa;
use crate::widen::{widen_bf16, widen_f16};

/// Elements of a matrix one after the other, as codes in blocks. Blocks take no notice of where a row ends.
#[derive(Clone, Copy, Debug)]
pub enum Blocks<'a> {
    /// Four bits an element and a scale for each `block` elements, a power of two from 32 on.
    Four { kind: Kind, block: usize, packed: &'a [u8], scales: Scales<'a> },
    /// A signed byte an element and a scale for each row of `columns` elements.
    Bytes { codes: &'a [u8], scales: &'a [f32], columns: usize },
    /// Whole blocks of a GGUF file.
    Gguf(GgufBlocks<'a>),
}

/// Whole blocks of a GGUF file, or its floats.
#[derive(Clone, Copy, Debug)]
pub enum GgufBlocks<'a> {
    F32(&'a [[u8; 4]]),
    F16(&'a [[u8; 2]]),
    Bf16(&'a [[u8; 2]]),
    Q4_0(&'a [[u8; 18]]),
    Q4_1(&'a [[u8; 20]]),
    Q5_0(&'a [[u8; 22]]),
    Q5_1(&'a [[u8; 24]]),
    Q8_0(&'a [[u8; 34]]),
    Q2K(&'a [[u8; 84]]),
    Q3K(&'a [[u8; 110]]),
    Q4K(&'a [[u8; 144]]),
    Q5K(&'a [[u8; 176]]),
    Q6K(&'a [[u8; 210]]),
}

impl<'a> Blocks<'a> {
    /// The blocks of the type `kind`, or its floats.
    ///
    /// # Errors
    /// If the bytes are no whole blocks, or `kind` has none for weights.
    pub fn gguf(kind: GgmlDType, bytes: &'a [u8]) -> Result<Self> {
        let fits = bytes.len().is_multiple_of(kind.type_size());
        expect_shape(fits, "expanding blocks", "the bytes", format!("whole blocks of {kind:?}"), bytes.len())?;
        Ok(Self::Gguf(match kind {
            GgmlDType::F32 => GgufBlocks::F32(bytes.as_chunks().0),
            GgmlDType::F16 => GgufBlocks::F16(bytes.as_chunks().0),
            GgmlDType::BF16 => GgufBlocks::Bf16(bytes.as_chunks().0),
            GgmlDType::Q4_0 => GgufBlocks::Q4_0(bytes.as_chunks().0),
            GgmlDType::Q4_1 => GgufBlocks::Q4_1(bytes.as_chunks().0),
            GgmlDType::Q5_0 => GgufBlocks::Q5_0(bytes.as_chunks().0),
            GgmlDType::Q5_1 => GgufBlocks::Q5_1(bytes.as_chunks().0),
            GgmlDType::Q8_0 => GgufBlocks::Q8_0(bytes.as_chunks().0),
            GgmlDType::Q2K => GgufBlocks::Q2K(bytes.as_chunks().0),
            GgmlDType::Q3K => GgufBlocks::Q3K(bytes.as_chunks().0),
            GgmlDType::Q4K => GgufBlocks::Q4K(bytes.as_chunks().0),
            GgmlDType::Q5K => GgufBlocks::Q5K(bytes.as_chunks().0),
            GgmlDType::Q6K => GgufBlocks::Q6K(bytes.as_chunks().0),
            other => return Err(candle_core::Error::Msg(format!("{other:?} has no blocks for weights")).into()),
        }))
    }

    /// The elements that the blocks have room for.
    pub fn len(&self) -> usize {
        match *self {
            Blocks::Four { block, packed, scales, .. } => (2 * packed.len()).min(block * scales.len()),
            Blocks::Bytes { codes, scales, columns } => codes.len().min(columns * scales.len()),
            Blocks::Gguf(blocks) => blocks.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the elements from number `start` on, as many as there is room for, on this thread and with these
    /// instructions, which change no bit. Of a matrix with a scale a row they are of one row.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn expand(self, isa: Isa, start: usize, out: &mut [f32]) -> Result<()> {
        let (wanted, has) = (start + out.len(), self.len());
        expect_shape(wanted <= has, "expanding blocks", "the elements", format!("{wanted} at most"), has)?;
        if !out.is_empty() {
            let columns = out.len();
            // Seen as one row, from its first element on: a scale a row is found by that.
            self.visit(Rectangle { isa, row: start, stride: 0, rows: 1, column: 0, columns, out, out_stride: columns });
        }
        Ok(())
    }

    /// Calls `what` with the blocks of their format.
    pub(crate) fn visit<W: OnBlocks>(self, what: W) -> W::Output {
        match self {
            Blocks::Four { kind, block, packed, scales } => what.with(Four::new(kind, block, packed, scales)),
            Blocks::Bytes { codes, scales, columns } => what.with(Bytes { codes, scales, columns, scale: 0.0 }),
            Blocks::Gguf(blocks) => blocks.visit(what),
        }
    }
}

impl GgufBlocks<'_> {
    fn len(&self) -> usize {
        match self {
            Self::F32(all) => all.len(),
            Self::F16(all) | Self::Bf16(all) => all.len(),
            Self::Q4_0(all) => all.len() * Q4_0::UNIT,
            Self::Q4_1(all) => all.len() * Q4_1::UNIT,
            Self::Q5_0(all) => all.len() * Q5_0::UNIT,
            Self::Q5_1(all) => all.len() * Q5_1::UNIT,
            Self::Q8_0(all) => all.len() * Q8_0::UNIT,
            Self::Q2K(all) => all.len() * Q2K::UNIT,
            Self::Q3K(all) => all.len() * Q3K::UNIT,
            Self::Q4K(all) => all.len() * Q4K::UNIT,
            Self::Q5K(all) => all.len() * Q5K::UNIT,
            Self::Q6K(all) => all.len() * Q6K::UNIT,
        }
    }

    fn visit<W: OnBlocks>(self, what: W) -> W::Output {
        match self {
            Self::F32(all) => what.with(Floats { all, widen: f32::from_le_bytes }),
            Self::F16(all) => what.with(Floats { all, widen: |x| widen_f16(half::f16::from_le_bytes(x)) }),
            Self::Bf16(all) => what.with(Floats { all, widen: |x| widen_bf16(half::bf16::from_le_bytes(x)) }),
            Self::Q4_0(all) => what.with(Q4_0(all)),
            Self::Q4_1(all) => what.with(Q4_1(all)),
            Self::Q5_0(all) => what.with(Q5_0(all)),
            Self::Q5_1(all) => what.with(Q5_1(all)),
            Self::Q8_0(all) => what.with(Q8_0(all)),
            Self::Q2K(all) => what.with(Q2K(all)),
            Self::Q3K(all) => what.with(Q3K(all)),
            Self::Q4K(all) => what.with(Q4K(all)),
            Self::Q5K(all) => what.with(Q5K(all)),
            Self::Q6K(all) => what.with(Q6K(all)),
        }
    }
}
