//! The operator by its contract: whichever version the backend has.

use candle_core::Tensor;

use super::{check, cpu, cuda, reference};
use crate::backend::{Backend, Compute};
use crate::error::Result;

/// The sums of the rows of `dy` `[tokens, n]` over each sequence's tokens `starts[i]..starts[i + 1]`,
/// each `[n]`; zeros for an empty sequence.
///
/// # Errors
/// If `starts` does not rise from 0 to the number of tokens.
pub fn sum_rows(compute: Compute, dy: &Tensor, starts: &[usize]) -> Result<Vec<Tensor>> {
    let columns = check(dy, starts)?;
    match compute.backend {
        Backend::Cpu => cpu::sum_rows(compute.isa, dy, columns, starts),
        Backend::Reference => reference::sum_rows(dy, starts),
        Backend::Cuda => cuda::sum_rows(dy, starts),
    }
}
