//! The operator by its contract: whichever version the backend has.

use candle_core::Tensor;

use super::{Direction, RopeTables, check, cpu, cuda, reference};
use crate::backend::{Backend, Compute};
use crate::error::Result;

/// Turns the first `heads` heads of every row of `x` `[tokens, columns]`, each of `head_dim`
/// columns; the columns after them stay. With merged queries, keys and values, `heads` is the
/// number of query and key heads. Where the tables are narrower than a head, its last columns stay.
///
/// On the CPU this happens in `x`'s own memory, so every other handle on it sees the change.
///
/// # Errors
/// If the shapes do not fit.
pub fn rope(
    compute: Compute,
    x: Tensor,
    tables: &RopeTables,
    heads: usize,
    head_dim: usize,
    direction: Direction,
) -> Result<Tensor> {
    let columns = check(&x, tables, heads, head_dim)?;
    match compute.backend {
        Backend::Cpu => cpu::rope(compute.isa, x, columns, tables, heads, head_dim, direction),
        Backend::Reference => reference::rope(&x, tables, heads, head_dim, direction),
        Backend::Cuda => cuda::rope(&x, tables, heads, head_dim, direction),
    }
}
