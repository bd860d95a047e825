//! Whether what a model computes is finite: weights that are not, or are far too large, make all that follows NaN.

use candle_core::{DType, Tensor};
use ft_kernels::tensor::{on_host, with_slice};

use crate::error::{Error, Result};

/// Fails unless all elements of `x`, `[rows, columns]`, are finite; `place` says what gave them. Costs a look at
/// each element, which is nothing beside the product that made it.
///
/// # Errors
/// [`Error::NotANumber`].
pub(crate) fn expect_finite(x: &Tensor, place: impl FnOnce() -> String) -> Result<()> {
    let columns = x.dims().last().copied().unwrap_or(1).max(1);
    let found = with_slice(&on_host(x)?.to_dtype(DType::F32)?.contiguous()?, |values| {
        // The bits of what is not finite are the largest, so a maximum over all says whether there is one.
        let largest = values.iter().fold(0, |most, x| (x.to_bits() & 0x7fff_ffff).max(most));
        if largest < f32::INFINITY.to_bits() {
            None
        } else {
            values.iter().position(|x| !x.is_finite()).map(|at| (at / columns, values[at]))
        }
    })?;
    match found {
        None => Ok(()),
        Some((row, value)) => Err(Error::NotANumber { place: place(), value, token: row + 1 }),
    }
}
