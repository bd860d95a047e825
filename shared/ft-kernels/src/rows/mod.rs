//! The sums of a matrix's rows, sequence by sequence: the gradients of biases.

mod cpu;
pub mod reference;

use candle_core::Tensor;

use crate::backend::{Backend, Compute};
use crate::error::{Result, expect_shape};

/// The sums of the rows of `dy` `[tokens, n]` over each sequence's tokens `starts[i]..starts[i + 1]`,
/// each `[n]`; zeros for an empty sequence.
///
/// # Errors
/// If `starts` does not rise from 0 to the number of tokens.
pub fn sum_rows(compute: Compute, dy: &Tensor, starts: &[usize]) -> Result<Vec<Tensor>> {
    let columns = check(dy, starts)?;
    match compute.backend {
        Backend::Cpu => cpu::sum_rows(compute.isa, dy, columns, starts),
        Backend::Reference | Backend::Cuda => reference::sum_rows(dy, starts),
    }
}

fn check(dy: &Tensor, starts: &[usize]) -> Result<usize> {
    let (tokens, columns) = dy.dims2()?;
    let rising = starts.first() == Some(&0)
        && starts.last() == Some(&tokens)
        && starts.windows(2).all(|pair| pair[0] <= pair[1]);
    expect_shape(rising, "sum_rows", "starts", format!("a rise from 0 to {tokens}"), starts)?;
    Ok(columns)
}
