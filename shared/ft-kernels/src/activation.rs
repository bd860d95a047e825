//! Gated activations: `h = silu(gate) * up` with `silu(x) = x sigmoid(x)`.
//!
//! Gate and up come from one merged product, gate first: `[tokens, 2 * inter]`. With
//! `s = sigmoid(gate)` the gradients are `d_up = dh gate s` and
//! `d_gate = dh up s (1 + gate (1 - s))`.

use candle_core::Tensor;

use crate::error::{Result, expect_shape};
use crate::parallel::for_row_blocks;
use crate::simd::{Kernel, LANES, Simd, dispatch};
use crate::tensor::{from_vec, is_fused, uninit, with_slice, with_slice_mut, with_slices};
use crate::vector::sigmoid;

/// `[tokens, 2 * inter]` (gate, then up) to `[tokens, inter]`.
///
/// # Errors
/// If `gate_up` is not a matrix with an even number of columns.
pub fn swiglu(gate_up: &Tensor) -> Result<Tensor> {
    let (rows, inter) = check("swiglu", gate_up)?;
    if !is_fused(gate_up) {
        return reference::swiglu(gate_up);
    }
    let mut h = uninit(rows * inter);
    with_slice(gate_up, |gate_up| {
        for_row_blocks(&mut h, inter, |first, h| {
            let gate_up = &gate_up[2 * first * inter..][..2 * h.len()];
            dispatch(Forward { gate_up, h, inter });
        });
    })?;
    Ok(from_vec(h, (rows, inter))?)
}

/// The gradient of [`swiglu`] for `gate_up`, from that of its result `dh` `[tokens, inter]`.
///
/// # Errors
/// If the shapes do not fit.
pub fn swiglu_backward(dh: &Tensor, gate_up: &Tensor) -> Result<Tensor> {
    check_backward(dh, gate_up)?;
    if !(is_fused(dh) && is_fused(gate_up)) {
        return reference::swiglu_backward(dh, gate_up);
    }
    let mut values = uninit(gate_up.elem_count());
    with_slice(gate_up, |gate_up| values.copy_from_slice(gate_up))?;
    swiglu_backward_inplace(dh, from_vec(values, gate_up.shape())?)
}

/// [`swiglu_backward`] in `gate_up`'s own memory where it is on the CPU: every other handle on it
/// sees the gradient.
///
/// # Errors
/// If the shapes do not fit.
pub fn swiglu_backward_inplace(dh: &Tensor, gate_up: Tensor) -> Result<Tensor> {
    let inter = check_backward(dh, &gate_up)?;
    if !(is_fused(dh) && is_fused(&gate_up)) {
        return reference::swiglu_backward(dh, &gate_up);
    }
    with_slices([dh], |[dh]| {
        with_slice_mut(&gate_up, |gate_up| {
            for_row_blocks(gate_up, 2 * inter, |first, gate_up| {
                let dh = &dh[first * inter..][..gate_up.len() / 2];
                dispatch(Backward { dh, gate_up, inter });
            });
        })
    })??;
    Ok(gate_up)
}

fn check(name: &'static str, gate_up: &Tensor) -> Result<(usize, usize)> {
    let (rows, columns) = gate_up.dims2()?;
    expect_shape(columns % 2 == 0, name, "gate_up's columns", "an even number", columns)?;
    Ok((rows, columns / 2))
}

fn check_backward(dh: &Tensor, gate_up: &Tensor) -> Result<usize> {
    const NAME: &str = "swiglu_backward";
    let (rows, inter) = check(NAME, gate_up)?;
    expect_shape(dh.dims() == [rows, inter], NAME, "dh", [rows, inter], dh.dims())?;
    Ok(inter)
}

struct Forward<'a> {
    gate_up: &'a [f32],
    h: &'a mut [f32],
    inter: usize,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let rows = self.gate_up.chunks_exact(2 * self.inter);
        for (gate_up, h) in rows.zip(self.h.chunks_exact_mut(self.inter)) {
            let (gate, up) = gate_up.split_at(self.inter);
            let parts = gate.chunks(LANES).zip(up.chunks(LANES));
            for ((gate, up), h) in parts.zip(h.chunks_mut(LANES)) {
                let g = s.load_part(gate, 0.0);
                let silu = s.mul(g, sigmoid(s, g));
                s.store_part(h, s.mul(silu, s.load_part(up, 0.0)));
            }
        }
    }
}

struct Backward<'a> {
    dh: &'a [f32],
    gate_up: &'a mut [f32],
    inter: usize,
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let one = s.splat(1.0);
        let rows = self.gate_up.chunks_exact_mut(2 * self.inter);
        for (gate_up, dh) in rows.zip(self.dh.chunks_exact(self.inter)) {
            let (gate, up) = gate_up.split_at_mut(self.inter);
            let parts = gate.chunks_mut(LANES).zip(up.chunks_mut(LANES));
            for ((gate, up), dh) in parts.zip(dh.chunks(LANES)) {
                let (g, u) = (s.load_part(gate, 0.0), s.load_part(up, 0.0));
                let sig = sigmoid(s, g);
                let through = s.mul(s.load_part(dh, 0.0), sig);
                let slope = s.fma(g, s.sub(one, sig), one);
                s.store_part(gate, s.mul(s.mul(through, u), slope));
                s.store_part(up, s.mul(through, g));
            }
        }
    }
}

/// The same in candle operations, on any device.
pub mod reference {
    use candle_core::{D, Tensor};

    use crate::error::Result;

    /// See [`super::swiglu`]; candle can differentiate it.
    ///
    /// # Errors
    /// If `gate_up` is not a matrix with an even number of columns.
    pub fn swiglu(gate_up: &Tensor) -> Result<Tensor> {
        let (gate, up) = halves(gate_up)?;
        Ok((gate.silu()? * up)?)
    }

    /// See [`super::swiglu_backward`].
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn swiglu_backward(dh: &Tensor, gate_up: &Tensor) -> Result<Tensor> {
        let (gate, up) = halves(gate_up)?;
        let sigmoid = (gate.neg()?.exp()? + 1.0)?.recip()?;
        let through = (dh * &sigmoid)?;
        let slope = ((&gate * (1.0 - &sigmoid)?)? + 1.0)?;
        let d_gate = ((&through * up)? * slope)?;
        let d_up = (through * gate)?;
        Ok(Tensor::cat(&[d_gate, d_up], D::Minus1)?)
    }

    fn halves(gate_up: &Tensor) -> Result<(Tensor, Tensor)> {
        let (_, inter) = super::check("swiglu", gate_up)?;
        let gate = gate_up.narrow(D::Minus1, 0, inter)?;
        let up = gate_up.narrow(D::Minus1, inter, inter)?;
        Ok((gate, up))
    }
}
