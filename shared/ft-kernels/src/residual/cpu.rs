//! Sums in place, on the CPU.

use candle_core::Tensor;

use crate::error::Result;
use crate::parallel::for_row_blocks;
use crate::simd::{Isa, Kernel, LANES, Simd, dispatch};
use crate::tensor::{with_slice_mut, with_slices};

/// What these operators, which know no rows, take for one when they share their work.
const ROW: usize = 1024;

/// See [`super::add_scaled`].
pub fn add_scaled(isa: Isa, base: &Tensor, y: Tensor, factor: f32) -> Result<Tensor> {
    with_slices([base], |[base]| {
        with_slice_mut(&y, |y| {
            for_row_blocks(y, ROW, |first, y| {
                let base = &base[first * ROW..][..y.len()];
                dispatch(isa, Add { base, y, factor });
            });
        })
    })??;
    Ok(y)
}

/// See [`super::scaled`].
pub fn scaled(y: Tensor, factor: f32) -> Result<Tensor> {
    with_slice_mut(&y, |y| for_row_blocks(y, ROW, |_, y| y.iter_mut().for_each(|y| *y *= factor)))?;
    Ok(y)
}

struct Add<'a> {
    base: &'a [f32],
    y: &'a mut [f32],
    factor: f32,
}

impl Kernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let factor = s.splat(self.factor);
        for (base, y) in self.base.chunks(LANES).zip(self.y.chunks_mut(LANES)) {
            let sum = s.fma(s.load_part(y, 0.0), factor, s.load_part(base, 0.0));
            s.store_part(y, sum);
        }
    }
}
