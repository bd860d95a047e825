//! Residual connections with a factor (Granite's multipliers), in place.

use candle_core::Tensor;

use crate::error::{Result, expect_shape};
use crate::parallel::for_row_blocks;
use crate::simd::{Kernel, LANES, Simd, dispatch_best};
use crate::tensor::{is_fused, with_slice_mut, with_slices};

/// `base + factor * y`, of any shape. The gradient of `base` is the result's, that of `y` is the
/// result's times the factor.
///
/// On the CPU this happens in `y`'s own memory, so every other handle on it sees the change.
///
/// # Errors
/// If the shapes differ.
pub fn add_scaled(base: &Tensor, y: Tensor, factor: f32) -> Result<Tensor> {
    expect_shape(base.dims() == y.dims(), "add_scaled", "y", base.dims(), y.dims())?;
    if !(is_fused(base) && is_fused(&y)) {
        return reference::add_scaled(base, &y, factor);
    }
    with_slices([base], |[base]| {
        with_slice_mut(&y, |y| {
            for_row_blocks(y, ROW, |first, y| {
                let base = &base[first * ROW..][..y.len()];
                dispatch_best(Add { base, y, factor });
            });
        })
    })??;
    Ok(y)
}

/// `factor * y`, of any shape.
///
/// On the CPU this happens in `y`'s own memory, so every other handle on it sees the change.
///
/// # Errors
/// If candle refuses an operation.
pub fn scaled(y: Tensor, factor: f32) -> Result<Tensor> {
    if !is_fused(&y) {
        return reference::scaled(&y, factor);
    }
    with_slice_mut(&y, |y| for_row_blocks(y, ROW, |_, y| y.iter_mut().for_each(|y| *y *= factor)))?;
    Ok(y)
}

/// What these operators, which know no rows, take for one when they share their work.
const ROW: usize = 1024;

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

/// The same in candle operations, on any device.
pub mod reference {
    use candle_core::Tensor;

    use crate::error::Result;

    /// See [`super::add_scaled`]; `y` is left as it is, and candle can differentiate it.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn add_scaled(base: &Tensor, y: &Tensor, factor: f32) -> Result<Tensor> {
        Ok((base + scaled(y, factor)?)?)
    }

    /// See [`super::scaled`]; `y` is left as it is, and candle can differentiate it.
    ///
    /// # Errors
    /// If candle refuses an operation.
    pub fn scaled(y: &Tensor, factor: f32) -> Result<Tensor> {
        Ok((y * f64::from(factor))?)
    }
}
