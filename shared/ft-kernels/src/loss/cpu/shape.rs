//! Logits as they are read.

use crate::loss::LogitShape;
use crate::simd::{Kernel, LANES, Simd};
use crate::vector::tanh;

impl LogitShape {
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

/// Shapes logits where they stand.
pub struct InPlace<'a> {
    pub values: &'a mut [f32],
    pub shape: LogitShape,
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
