//! The same in candle operations, on any device.

use candle_core::Tensor;

use crate::error::Result;

/// See [`super::sum_rows`]; candle can differentiate it.
///
/// # Errors
/// As [`super::sum_rows`].
pub fn sum_rows(dy: &Tensor, starts: &[usize]) -> Result<Vec<Tensor>> {
    let columns = super::check(dy, starts)?;
    let pairs = starts.windows(2).map(|pair| (pair[0], pair[1] - pair[0]));
    pairs
        .map(|(start, len)| match len {
            0 => Ok(Tensor::zeros(columns, dy.dtype(), dy.device())?),
            len => Ok(dy.narrow(0, start, len)?.sum(0)?),
        })
        .collect()
}
