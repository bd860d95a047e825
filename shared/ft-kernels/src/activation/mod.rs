//! Activations: gated, `h = a(gate) * up`, and plain, `h = a(x)`.
//!
//! Gate and up come from one merged product, gate first: `[tokens, 2 * inter]`. The gradients are
//! `d_up = dh a(gate)` and `d_gate = dh up a'(gate)`; for a plain one `dx = dh a'(x)`.

mod functions;
mod kernels;
pub mod reference;

use candle_core::Tensor;

use self::functions::{Gelu, GeluTanh, Relu, Silu};
use self::kernels::{Gated, GatedBackward, Plain, PlainBackward};
use crate::error::{Result, expect_shape};
use crate::parallel::for_row_blocks;
use crate::simd::dispatch_best;
use crate::tensor::{from_vec, is_fused, uninit, with_slice, with_slice_mut, with_slices};

/// What stands between two matrix products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x sigmoid(x)`, also called swish.
    Silu,
    /// GELU's approximation with the hyperbolic tangent,
    /// `x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2` (Hendrycks and Gimpel 2016, section 2).
    GeluTanh,
    /// GELU itself, `x (1 + erf(x / sqrt(2))) / 2`.
    Gelu,
    /// `max(x, 0)`.
    Relu,
}

/// Does the work with `F` as the type of an activation's function.
macro_rules! with_function {
    ($activation:expr, $function:ident => $work:expr) => {
        match $activation {
            Activation::Silu => {
                type $function = Silu;
                $work
            }
            Activation::GeluTanh => {
                type $function = GeluTanh;
                $work
            }
            Activation::Gelu => {
                type $function = Gelu;
                $work
            }
            Activation::Relu => {
                type $function = Relu;
                $work
            }
        }
    };
}

/// `[tokens, 2 * inter]` (gate, then up) to `[tokens, inter]`.
///
/// # Errors
/// If `gate_up` is not a matrix with an even number of columns.
pub fn gated(gate_up: &Tensor, activation: Activation) -> Result<Tensor> {
    let (rows, inter) = check("gated activation", gate_up)?;
    if !is_fused(gate_up) {
        return reference::gated(gate_up, activation);
    }
    let mut h = uninit(rows * inter);
    with_slice(gate_up, |gate_up| {
        for_row_blocks(&mut h, inter, |first, h| {
            let gate_up = &gate_up[2 * first * inter..][..2 * h.len()];
            with_function!(activation, F => dispatch_best(Gated::<F>::new(gate_up, h, inter)));
        });
    })?;
    Ok(from_vec(h, (rows, inter))?)
}

/// The gradient of [`gated`] for `gate_up`, from that of its result `dh` `[tokens, inter]`, in
/// `gate_up`'s own memory where it is on the CPU: every other handle on it sees the gradient.
///
/// # Errors
/// If the shapes do not fit.
pub fn gated_backward_inplace(dh: &Tensor, gate_up: Tensor, activation: Activation) -> Result<Tensor> {
    const NAME: &str = "gated activation's backward";
    let (rows, inter) = check(NAME, &gate_up)?;
    expect_shape(dh.dims() == [rows, inter], NAME, "dh", [rows, inter], dh.dims())?;
    if !(is_fused(dh) && is_fused(&gate_up)) {
        return reference::gated_backward(dh, &gate_up, activation);
    }
    with_slices([dh], |[dh]| {
        with_slice_mut(&gate_up, |gate_up| {
            for_row_blocks(gate_up, 2 * inter, |first, gate_up| {
                let dh = &dh[first * inter..][..gate_up.len() / 2];
                with_function!(activation, F => dispatch_best(GatedBackward::<F>::new(dh, gate_up, inter)));
            });
        })
    })??;
    Ok(gate_up)
}

/// The activation of every element of `x`, of any shape.
///
/// # Errors
/// If candle refuses an operation.
pub fn plain(x: &Tensor, activation: Activation) -> Result<Tensor> {
    if !is_fused(x) {
        return reference::plain(x, activation);
    }
    let mut h = uninit(x.elem_count());
    with_slice(x, |x| {
        for_row_blocks(&mut h, ROW, |first, h| {
            let x = &x[first * ROW..][..h.len()];
            with_function!(activation, F => dispatch_best(Plain::<F>::new(x, h)));
        });
    })?;
    Ok(from_vec(h, x.shape())?)
}

/// The gradient of [`plain`] for `x`, from that of its result, in `x`'s own memory where it is on the
/// CPU: every other handle on it sees the gradient.
///
/// # Errors
/// If the shapes do not fit.
pub fn plain_backward_inplace(dh: &Tensor, x: Tensor, activation: Activation) -> Result<Tensor> {
    expect_shape(dh.dims() == x.dims(), "activation's backward", "dh", x.dims(), dh.dims())?;
    if !(is_fused(dh) && is_fused(&x)) {
        return reference::plain_backward(dh, &x, activation);
    }
    with_slices([dh], |[dh]| {
        with_slice_mut(&x, |x| {
            for_row_blocks(x, ROW, |first, x| {
                let dh = &dh[first * ROW..][..x.len()];
                with_function!(activation, F => dispatch_best(PlainBackward::<F>::new(dh, x)));
            });
        })
    })??;
    Ok(x)
}

/// What a plain activation, which knows no rows, takes for one when it shares its work.
const ROW: usize = 1024;

fn check(name: &'static str, gate_up: &Tensor) -> Result<(usize, usize)> {
    let (rows, columns) = gate_up.dims2()?;
    expect_shape(columns % 2 == 0, name, "gate_up's columns", "an even number", columns)?;
    Ok((rows, columns / 2))
}
