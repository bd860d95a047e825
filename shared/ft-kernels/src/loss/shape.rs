//! What some families do to their logits: a factor (Granite, Cohere), a soft bound (Gemma 2).

use candle_core::Tensor;

use super::reference;
use crate::error::Result;
use crate::parallel::for_row_blocks;
use crate::simd::{Kernel, LANES, Simd, dispatch_best};
use crate::tensor::{is_fused, with_slice_mut};
use crate::vector::tanh;

/// `l = scale * x`, and then `cap * tanh(l / cap)` (Gemma Team 2024, "Gemma 2", section 2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogitShape {
    /// Multiplies the logits.
    pub scale: f32,
    /// The bound that they are squeezed into afterwards, if any.
    pub softcap: Option<f32>,
}

impl Default for LogitShape {
    fn default() -> Self {
        Self { scale: 1.0, softcap: None }
    }
}

impl LogitShape {
    /// Whether it leaves the logits as they are.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The shape's slope where it gives `shaped`.
    #[inline(always)]
    pub(super) fn slope<S: Simd>(self, s: S, shaped: S::V) -> S::V {
        let scale = s.splat(self.scale);
        match self.softcap {
            None => scale,
            Some(cap) => {
                let t = s.mul(shaped, s.splat(1.0 / cap));
                s.mul(s.fnma(t, t, s.splat(1.0)), scale)
            }
        }
    }
}

/// What is done to logits as they are read.
pub trait Shape: Copy {
    /// The shaped logits.
    fn apply<S: Simd>(self, s: S, x: S::V) -> S::V;
}

/// Nothing.
#[derive(Clone, Copy)]
pub struct AsTheyAre;

impl Shape for AsTheyAre {
    #[inline(always)]
    fn apply<S: Simd>(self, _: S, x: S::V) -> S::V {
        x
    }
}

impl Shape for LogitShape {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, x: S::V) -> S::V {
        let scaled = s.mul(x, s.splat(self.scale));
        match self.softcap {
            None => scaled,
            Some(cap) => s.mul(tanh(s, s.mul(scaled, s.splat(1.0 / cap))), s.splat(cap)),
        }
    }
}

/// The logits as the shape makes them, for generation.
///
/// On the CPU this happens in the logits' own memory: every other handle on it sees the change.
///
/// # Errors
/// If candle refuses an operation.
pub fn shape_logits(logits: Tensor, shape: LogitShape) -> Result<Tensor> {
    const ROW: usize = 1024;
    if shape.is_default() {
        return Ok(logits);
    }
    if !is_fused(&logits) {
        return reference::shape_logits(&logits, shape);
    }
    with_slice_mut(&logits, |logits| {
        for_row_blocks(logits, ROW, |_, values| dispatch_best(InPlace { values, shape }));
    })?;
    Ok(logits)
}

struct InPlace<'a> {
    values: &'a mut [f32],
    shape: LogitShape,
}

impl Kernel for InPlace<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for part in self.values.chunks_mut(LANES) {
            let shaped = self.shape.apply(s, s.load_part(part, 0.0));
            s.store_part(part, shaped);
        }
    }
}
