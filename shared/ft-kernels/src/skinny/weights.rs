//! The right side of a product of a few rows, as floats.

use half::{bf16, f16};

use crate::widen::{widen_bf16, widen_f16};

/// A matrix `[n, k]`, row by row.
#[derive(Clone, Copy, Debug)]
pub enum Weights<'a> {
    /// As it is multiplied.
    F32(&'a [f32]),
    /// Widened, which is exact, some rows at a time.
    Bf16(&'a [bf16]),
    /// Widened, which is exact, some rows at a time.
    F16(&'a [f16]),
}

impl Weights<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Weights::F32(w) => w.len(),
            Weights::Bf16(w) => w.len(),
            Weights::F16(w) => w.len(),
        }
    }

    /// The elements from `start` on, as many as there is room for, widened.
    ///
    /// # Panics
    /// Where there are fewer.
    pub(crate) fn widen(&self, start: usize, to: &mut [f32]) {
        let range = start..start + to.len();
        match self {
            Weights::F32(w) => to.copy_from_slice(&w[range]),
            Weights::Bf16(w) => to.iter_mut().zip(&w[range]).for_each(|(to, w)| *to = widen_bf16(*w)),
            Weights::F16(w) => to.iter_mut().zip(&w[range]).for_each(|(to, w)| *to = widen_f16(*w)),
        }
    }
}
