//! The scales of four-bit blocks.

use std::sync::{Arc, OnceLock};

use crate::error::{Result, expect_shape};
use crate::optim::{BLOCK, DynamicMap};

/// The scales of a matrix's blocks: the largest magnitude in each.
#[derive(Debug, Clone, PartialEq)]
pub enum Absmax {
    /// As they are.
    Plain(Vec<f32>),
    /// In 8 bits.
    Nested(Nested),
}

impl Absmax {
    /// The number of scales.
    pub fn len(&self) -> usize {
        match self {
            Absmax::Plain(values) => values.len(),
            Absmax::Nested(nested) => nested.codes.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes that they take.
    pub fn bytes(&self) -> usize {
        match self {
            Absmax::Plain(values) => 4 * values.len(),
            // The map of 256 values is shared by all matrices.
            Absmax::Nested(nested) => nested.codes.len() + nested.second.bytes(),
        }
    }
}

/// Scales in 8 bits: less their mean, in blocks of 256, each scale the nearest value of bitsandbytes' dynamic map times
/// the largest magnitude in its block ("QLoRA", section 3; the map is that of Dettmers et al., "8-bit Optimizers via
/// Block-wise Quantization", 2022, section 1.2).
#[derive(Debug, Clone, PartialEq)]
pub struct Nested {
    codes: Vec<u8>,
    second: Second,
}

/// What the codes of [`Nested`] scales are expanded with.
#[derive(Debug, Clone, PartialEq)]
pub struct Second {
    /// For each block of 256 codes, the largest magnitude in it.
    pub scales: Vec<f32>,
    /// What was taken off all.
    pub offset: f32,
    /// What the codes stand for, of -1 to 1.
    pub map: Arc<[f32; 256]>,
}

impl Nested {
    /// Rounds scales to the nearest codes.
    pub fn quantise(absmax: &[f32]) -> Self {
        let sum: f64 = absmax.iter().map(|&x| f64::from(x)).sum();
        Self::around((sum / absmax.len().max(1) as f64) as f32, absmax)
    }

    /// [`Nested::quantise`] with this offset in place of the mean.
    pub(super) fn around(offset: f32, absmax: &[f32]) -> Self {
        let map = DynamicMap::signed();
        let mut codes = Vec::with_capacity(absmax.len());
        let mut scales = Vec::with_capacity(absmax.len().div_ceil(BLOCK));
        for block in absmax.chunks(BLOCK) {
            let scale = block.iter().map(|x| (x - offset).abs()).fold(0.0, f32::max);
            let inverse = 1.0 / scale;
            // In a block of equal scales every code stands for 0; bitsandbytes writes 0 there.
            let code = |x: &f32| if scale == 0.0 { 0 } else { map.code(((x - offset) * inverse).clamp(-1.0, 1.0)) };
            codes.extend(block.iter().map(code));
            scales.push(scale);
        }
        Self { codes, second: Second { scales, offset, map: standard_map() } }
    }

    /// Scales from their parts.
    ///
    /// # Errors
    /// If there is not one scale for each block of 256 codes.
    pub fn from_parts(codes: Vec<u8>, second: Second) -> Result<Self> {
        let blocks = codes.len().div_ceil(BLOCK);
        expect_shape(second.scales.len() == blocks, "nested scales", "the scales", blocks, second.scales.len())?;
        Ok(Self { codes, second })
    }

    /// The codes.
    pub fn codes(&self) -> &[u8] {
        &self.codes
    }

    /// What they are expanded with.
    pub fn second(&self) -> &Second {
        &self.second
    }
}

impl Second {
    /// Codes that share a scale.
    pub const BLOCK: usize = BLOCK;

    /// The bytes that they take; the map is shared by all matrices.
    pub fn bytes(&self) -> usize {
        Self::bytes_for(self.scales.len())
    }

    /// [`Second::bytes`] with so many scales.
    pub(super) fn bytes_for(scales: usize) -> usize {
        4 * scales + 4
    }

    /// Constants with a map of their own, which is shared if it is the usual one.
    pub fn new(scales: Vec<f32>, offset: f32, map: &[f32; 256]) -> Self {
        let standard = standard_map();
        let map = if *standard == *map { standard } else { Arc::new(*map) };
        Self { scales, offset, map }
    }

    /// What code number `i`, `code`, stands for.
    #[inline(always)]
    pub(super) fn one(&self, i: usize, code: u8) -> f32 {
        // Two roundings, as in bitsandbytes.
        self.map[usize::from(code)] * self.scales[i / BLOCK] + self.offset
    }

    /// Writes what `codes`, those from number `first` on, stand for.
    ///
    /// # Errors
    /// If there are no scales for so many codes, or `out` has another length than `codes`.
    pub fn expand(&self, first: usize, codes: &[u8], out: &mut [f32]) -> Result<()> {
        expect_shape(codes.len() == out.len(), "expanding scales", "the output", codes.len(), out.len())?;
        let blocks = (first + codes.len()).div_ceil(BLOCK);
        let has = self.scales.len();
        expect_shape(codes.is_empty() || blocks <= has, "expanding scales", "the scales", blocks, has)?;
        for (i, (x, &code)) in out.iter_mut().zip(codes).enumerate() {
            *x = self.one(first + i, code);
        }
        Ok(())
    }
}

/// bitsandbytes' map, once for all.
fn standard_map() -> Arc<[f32; 256]> {
    static MAP: OnceLock<Arc<[f32; 256]>> = OnceLock::new();
    Arc::clone(MAP.get_or_init(|| Arc::new(*DynamicMap::signed().values())))
}
