//! Activations by kernels of our own, `kernels/activation.cu`.

use candle_core::Tensor;

use super::{Activation, Xielu};
use crate::cuda::{Grid, Launch, Output, block_of, parts};
use crate::error::Result;

/// Columns of a block, as the kernels have it.
const PART: usize = 1024;

/// A kernel's last arguments: its number of the activation, and xIELU's.
fn with_activation(call: Launch<'_>, activation: Activation) -> Launch<'_> {
    let (kind, of) = match activation {
        Activation::Silu => (0, Xielu::default()),
        Activation::GeluTanh => (1, Xielu::default()),
        Activation::Gelu => (2, Xielu::default()),
        Activation::Relu => (3, Xielu::default()),
        Activation::ReluSquared => (4, Xielu::default()),
        Activation::Xielu(of) => (5, of),
    };
    call.int(kind).f32(of.positive).f32(of.negative).f32(of.beta).f32(of.eps)
}

/// A block for each part of each row.
fn grid(rows: usize, columns: usize, x: &Tensor) -> Grid {
    Grid::plane(rows, parts(columns, PART), block_of(columns.min(PART), x.dtype(), 256))
}

/// See [`super::gated`].
pub fn gated(gate_up: &Tensor, activation: Activation) -> Result<Tensor> {
    let x = &gate_up.contiguous()?;
    let (rows, columns) = x.dims2()?;
    // SAFETY: the kernel writes every element.
    let mut h = unsafe { Output::new(x.device(), x.dtype(), (rows, columns / 2))? };
    let call = Launch::new("activation", "gated", x.dtype()).read(x).write(&mut h).int(columns / 2);
    // SAFETY: a row of x is twice as long as one of h, whose parts the blocks have.
    unsafe { with_activation(call, activation).run(grid(rows, columns / 2, x))? };
    Ok(h.into_tensor())
}

/// See [`super::gated_backward_inplace`].
pub fn gated_backward(dh: &Tensor, gate_up: &Tensor, activation: Activation) -> Result<Tensor> {
    let (dh, x) = (&dh.contiguous()?, gate_up.contiguous()?);
    let (rows, inter) = dh.dims2()?;
    let call = Launch::new("activation", "gated_backward", x.dtype()).read(dh).change(&x).int(inter);
    // SAFETY: a row of x is twice as long as one of dh, whose parts the blocks have.
    unsafe { with_activation(call, activation).run(grid(rows, inter, &x))? };
    Ok(x)
}

/// The elements of a tensor as rows.
fn rows_of(x: &Tensor) -> (usize, usize) {
    let columns = x.dims().last().copied().unwrap_or(1);
    (x.elem_count() / columns.max(1), columns)
}

/// See [`super::plain`].
pub fn plain(x: &Tensor, activation: Activation) -> Result<Tensor> {
    let x = &x.contiguous()?;
    let (rows, columns) = rows_of(x);
    // SAFETY: the kernel writes every element.
    let mut y = unsafe { Output::new(x.device(), x.dtype(), x.shape())? };
    let call = Launch::new("activation", "plain", x.dtype()).read(x).write(&mut y).int(columns);
    // SAFETY: both have these rows, whose parts the blocks have.
    unsafe { with_activation(call, activation).run(grid(rows, columns, x))? };
    Ok(y.into_tensor())
}

/// See [`super::plain_backward_inplace`].
pub fn plain_backward(dh: &Tensor, x: &Tensor, activation: Activation) -> Result<Tensor> {
    let (dh, x) = (&dh.contiguous()?, x.contiguous()?);
    let (rows, columns) = rows_of(&x);
    let call = Launch::new("activation", "plain_backward", x.dtype()).read(dh).change(&x).int(columns);
    // SAFETY: both have these rows, whose parts the blocks have.
    unsafe { with_activation(call, activation).run(grid(rows, columns, &x))? };
    Ok(x)
}
