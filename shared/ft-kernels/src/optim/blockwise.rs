//! Moments in 8 bits (Dettmers et al., "8-bit Optimizers via Block-wise Quantization", 2022): blocks of [`BLOCK`]
//! elements, each with the largest magnitude in it as its scale, and a code for each element into a map of 256 values
//! whose steps grow with the value ("dynamic tree quantization", section 1.2 there; bitsandbytes' `create_dynamic_map`).
//!
//! An element becomes the nearest value of the map, as in the paper and in bitsandbytes' GPU kernels. (The CPU backend
//! of bitsandbytes looks the code up in a table of 65536 even steps, which cannot tell apart what is smaller than
//! 1/65536 of its block's largest.)

use std::sync::OnceLock;

use rayon::prelude::*;

use crate::math::pow;
use crate::simd::{LANES, Simd};

/// Elements that share a scale.
pub const BLOCK: usize = 256;

/// A tensor of 8-bit numbers: a code for each element and a scale for each block. Fresh ones are all zero.
#[derive(Debug)]
pub struct Codes<'a> {
    /// One for each element.
    pub codes: &'a mut [u8],
    /// The largest magnitude in each block of [`BLOCK`] elements.
    pub scales: &'a mut [f32],
}

impl<'a> Codes<'a> {
    /// Whether this is a tensor of `len` elements.
    pub fn fit(&self, len: usize) -> bool {
        self.codes.len() == len && self.scales.len() == len.div_ceil(BLOCK)
    }

    /// Cuts it into pieces of whole blocks.
    pub(super) fn pieces(self, piece: usize) -> impl IndexedParallelIterator<Item = Codes<'a>> {
        let scales = self.scales.par_chunks_mut(piece / BLOCK);
        self.codes.par_chunks_mut(piece).zip(scales).map(|(codes, scales)| Codes { codes, scales })
    }

    /// Its blocks, with their scales.
    #[inline(always)]
    pub(super) fn blocks(self) -> impl Iterator<Item = (&'a mut [u8], &'a mut f32)> {
        self.codes.chunks_mut(BLOCK).zip(self.scales)
    }
}

/// The values that codes stand for, in rising order, and how numbers find the nearest one.
#[derive(Debug)]
pub struct DynamicMap {
    values: [f32; 256],
    /// `limits[i]` is the largest number that belongs to code `i`.
    limits: [f32; 256],
    /// For the upper half of a number's bits, the code at which the search begins: positive numbers first.
    starts: Vec<u8>,
}

/// The upper halves of the bits of 0 to 1.
const UPPER: usize = 0x3f80 + 1;

impl DynamicMap {
    /// For first moments: from -0.993 to 1, with 0 in the middle.
    pub fn signed() -> &'static Self {
        static MAP: OnceLock<DynamicMap> = OnceLock::new();
        MAP.get_or_init(|| Self::new(true))
    }

    /// For second moments: from 0 to 1.
    pub fn unsigned() -> &'static Self {
        static MAP: OnceLock<DynamicMap> = OnceLock::new();
        MAP.get_or_init(|| Self::new(false))
    }

    fn new(signed: bool) -> Self {
        let mut values = vec![0.0, 1.0];
        for exponent in 0..7 {
            // The larger the number, the more bits are left for its fraction.
            let fractions = 1usize << (exponent + usize::from(!signed));
            let power = pow(10.0, exponent as f64 - 6.0) as f32;
            let bounds: Vec<f32> = (0..=fractions).map(|i| even_step(i, fractions)).collect();
            let means = bounds.windows(2).map(|pair| power * f32::midpoint(pair[0], pair[1]));
            values.extend(means.flat_map(|x| if signed { vec![x, -x] } else { vec![x] }));
        }
        values.sort_by(f32::total_cmp);
        let values: [f32; 256] = std::array::from_fn(|i| values[i]);
        let limits = std::array::from_fn(|i| if i < 255 { limit(values[i], values[i + 1]) } else { f32::INFINITY });
        let code = |x: f32| limits.iter().position(|&limit| x <= limit).unwrap_or(0) as u8;
        let at = |upper: usize| f32::from_bits((upper as u32) << 16);
        // A negative number of some upper half is no smaller than the one with all lower bits set.
        let lowest = |upper: usize| -f32::from_bits(((upper as u32) << 16) | 0xffff);
        let starts = (0..UPPER).map(|upper| code(at(upper))).chain((0..UPPER).map(|upper| code(lowest(upper))));
        Self { values, limits, starts: starts.collect() }
    }

    /// The 256 values.
    pub fn values(&self) -> &[f32; 256] {
        &self.values
    }

    /// The code whose value is nearest to `x`, of -1 to 1; between two equally near ones the lower.
    #[inline(always)]
    pub fn code(&self, x: f32) -> u8 {
        let bits = x.to_bits();
        let upper = (bits >> 16 & 0x7fff) as usize;
        let negative = (bits >> 31) as usize;
        let mut code = self.starts[negative * UPPER + upper.min(UPPER - 1)];
        // At most two steps; the last limit is infinite, and what is no number stays where it is.
        while x > self.limits[code as usize] {
            code += 1;
        }
        code
    }

    /// The numbers that a block's codes stand for.
    #[inline(always)]
    pub(super) fn expand(&self, codes: &[u8], scale: f32, out: &mut [f32]) {
        for (x, &code) in out.iter_mut().zip(codes) {
            *x = self.values[code as usize] * scale;
        }
    }

    /// Writes the codes of a block and returns its scale.
    #[inline(always)]
    pub(super) fn round<S: Simd>(&self, s: S, values: &[f32], codes: &mut [u8]) -> f32 {
        let mut largest = s.splat(0.0);
        for part in values.chunks(LANES) {
            let x = s.load_part(part, 0.0);
            largest = s.max(largest, s.max(x, s.sub(s.splat(0.0), x)));
        }
        let scale = s.max_lane(largest);
        self.round_by(scale, values, codes);
        scale
    }

    /// Writes the codes of a block with this scale.
    #[inline(always)]
    pub(super) fn round_by(&self, scale: f32, values: &[f32], codes: &mut [u8]) {
        if scale == 0.0 {
            codes.fill(0);
            return;
        }
        let inverse = 1.0 / scale;
        for (code, &x) in codes.iter_mut().zip(values) {
            *code = self.code((x * inverse).clamp(-1.0, 1.0));
        }
    }
}

/// Point `i` of `steps` even steps from 0.1 to 1: `torch.linspace`, which counts from both ends.
fn even_step(i: usize, steps: usize) -> f32 {
    let step = (1.0 - 0.1f32) / steps as f32;
    if i < steps.div_ceil(2) { step.mul_add(i as f32, 0.1) } else { (-step).mul_add((steps - i) as f32, 1.0) }
}

/// The largest number that is no farther from `low` than from `high`.
fn limit(low: f32, high: f32) -> f32 {
    let nearer_low = |x: f32| (x - low).abs() <= (x - high).abs();
    // Halving the gap until two neighbouring numbers are left.
    let (mut below, mut above) = (low, high);
    loop {
        let middle = f32::midpoint(below, above);
        if middle <= below || middle >= above {
            return below;
        }
        if nearer_low(middle) {
            below = middle;
        } else {
            above = middle;
        }
    }
}
