//! The sums of a matrix's rows, sequence by sequence: the gradients of biases.

mod cpu;
mod cuda;
mod operator;
pub mod reference;

pub use operator::sum_rows;

use candle_core::Tensor;

use crate::error::{Result, expect_shape};

fn check(dy: &Tensor, starts: &[usize]) -> Result<usize> {
    let (tokens, columns) = dy.dims2()?;
    let rising = starts.first() == Some(&0)
        && starts.last() == Some(&tokens)
        && starts.windows(2).all(|pair| pair[0] <= pair[1]);
    expect_shape(rising, "sum_rows", "starts", format!("a rise from 0 to {tokens}"), starts)?;
    Ok(columns)
}
