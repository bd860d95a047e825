//! The emulation's own tests' way to its kernels with faults.

use candle_core::{Result, Tensor};

use super::launch::{Grid, Launch};

/// Runs one block of a kernel of `kernels/host/wrong.cu` over tensors that it reads and one that it changes: for tests of the
/// emulation itself.
///
/// # Errors
/// What the emulation finds.
pub fn probe(kernel: &str, reads: &[&Tensor], changed: &Tensor, threads: usize, shared: usize) -> Result<()> {
    let call = reads.iter().fold(Launch::named(kernel), |call, tensor| call.read_as(tensor, tensor.dtype()));
    let grid = Grid { shared, ..Grid::line(1, threads) };
    // SAFETY: the emulation refuses what is outside of the tensors, and arguments that are not the kernel's.
    unsafe { call.change_as(changed, changed.dtype()).run(grid) }
}
