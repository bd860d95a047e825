//! Activations over slices, on the CPU.

mod functions;
mod kernels;

use candle_core::Tensor;

use self::functions::{Gelu, GeluTanh, Relu, ReluSquared, Silu};
use self::kernels::{Gated, GatedBackward, Plain, PlainBackward};
use super::Activation;
use crate::error::Result;
use crate::parallel::for_row_blocks;
use crate::simd::{Isa, dispatch};
use crate::tensor::{from_vec, unwritten, with_slice, with_slice_mut, with_slices};

/// What a plain activation, which knows no rows, takes for one when it shares its work.
const ROW: usize = 1024;

/// Does the work with an activation's function.
macro_rules! with_function {
    ($activation:expr, $function:ident => $work:expr) => {
        match $activation {
            Activation::Silu => {
                let $function = Silu;
                $work
            }
            Activation::GeluTanh => {
                let $function = GeluTanh;
                $work
            }
            Activation::Gelu => {
                let $function = Gelu;
                $work
            }
            Activation::Relu => {
                let $function = Relu;
                $work
            }
            Activation::ReluSquared => {
                let $function = ReluSquared;
                $work
            }
            Activation::Xielu($function) => $work,
        }
    };
}

/// See [`super::gated`].
pub fn gated(isa: Isa, (rows, inter): (usize, usize), gate_up: &Tensor, activation: Activation) -> Result<Tensor> {
    // SAFETY: every row is in one of the blocks below, and the kernel writes each element of its rows.
    let mut h = unsafe { unwritten(rows * inter) };
    with_slice(gate_up, |gate_up| {
        for_row_blocks(&mut h, inter, |first, h| {
            let gate_up = &gate_up[2 * first * inter..][..2 * h.len()];
            with_function!(activation, f => dispatch(isa, Gated::new(f, gate_up, h, inter)));
        });
    })?;
    Ok(from_vec(h, (rows, inter))?)
}

/// See [`super::gated_backward_inplace`].
pub fn gated_backward_inplace(
    isa: Isa,
    inter: usize,
    dh: &Tensor,
    gate_up: Tensor,
    activation: Activation,
) -> Result<Tensor> {
    with_slices([dh], |[dh]| {
        with_slice_mut(&gate_up, |gate_up| {
            for_row_blocks(gate_up, 2 * inter, |first, gate_up| {
                let dh = &dh[first * inter..][..gate_up.len() / 2];
                with_function!(activation, f => dispatch(isa, GatedBackward::new(f, dh, gate_up, inter)));
            });
        })
    })??;
    Ok(gate_up)
}

/// See [`super::plain`].
pub fn plain(isa: Isa, x: &Tensor, activation: Activation) -> Result<Tensor> {
    // SAFETY: every row is in one of the blocks below, and the kernel writes each element of its rows.
    let mut h = unsafe { unwritten(x.elem_count()) };
    with_slice(x, |x| {
        for_row_blocks(&mut h, ROW, |first, h| {
            let x = &x[first * ROW..][..h.len()];
            with_function!(activation, f => dispatch(isa, Plain::new(f, x, h)));
        });
    })?;
    Ok(from_vec(h, x.shape())?)
}

/// See [`super::plain_backward_inplace`].
pub fn plain_backward_inplace(isa: Isa, dh: &Tensor, x: Tensor, activation: Activation) -> Result<Tensor> {
    with_slices([dh], |[dh]| {
        with_slice_mut(&x, |x| {
            for_row_blocks(x, ROW, |first, x| {
                let dh = &dh[first * ROW..][..x.len()];
                with_function!(activation, f => dispatch(isa, PlainBackward::new(f, dh, x)));
            });
        })
    })??;
    Ok(x)
}
