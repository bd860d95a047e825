//! The linear layer with low-rank adapters, forward and backward.
//!
//! `y = x·Wᵀ + bias + residual`, and for each adapter, on its own range of output columns,
//! `y += s·drop(x)·Aᵀ·Bᵀ` (Hu et al., "LoRA", 2021, section 4.1), or, where it has a magnitude, what
//! [`dora`] says. `W` is frozen: it gets no gradient, so its backward is one product and not two. The
//! gradients of an adapter are formed one sequence at a time, for the sequence is the unit of summation
//! of a training step.

mod adapter;
mod by_rows;
mod dora;
mod product;
pub mod reference;

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use self::adapter::Rows;
use self::product::{product_few_slice, with_rhs};
use crate::backend::{Compute, Isa};
use crate::gemm::{Mat, MatMut, matmul};
use crate::parallel::for_row_blocks;
use crate::philox::Stream;
use crate::tensor::{from_vec, uninit, with_slice, with_slices};

pub use self::by_rows::{RowSource, expand_all, product_by_rows, product_few_by_rows, rows_at_once};
pub use self::dora::dora_norm;
pub use self::product::{add_product, product, product_few, weight_gradient};
pub use crate::dropout::dropout_factors;

/// An adapter of a range of a layer's output columns.
#[derive(Clone)]
pub struct Lora<'a> {
    /// `[r, in]`
    pub a: &'a Tensor,
    /// `[out, r]`
    pub b: &'a Tensor,
    /// The factor of the adapter's output (`lora_alpha / r`, say).
    pub scaling: f32,
    /// The first of its `out` columns among the layer's.
    pub column: usize,
    /// Dropout of the adapter's input; none while evaluating.
    pub dropout: Option<Dropout>,
    /// `[out]`: the length that each row of `W + s·B·A` is given ("DoRA"); none for plain LoRA.
    pub magnitude: Option<&'a Tensor>,
}

/// Dropout of an adapter's input: one random stream a sequence, so that a mask depends on the
/// sequence and not on what stands beside it.
#[derive(Clone)]
pub struct Dropout {
    pub p: f64,
    pub streams: Vec<Stream>,
}

/// A frozen linear layer and its adapters.
#[derive(Clone)]
pub struct Linear<'a> {
    /// `[out, in]`; f32, bf16 or f16
    pub weight: &'a Tensor,
    /// `[out]`
    pub bias: Option<&'a Tensor>,
    /// No two of them share a column.
    pub lora: Vec<Lora<'a>>,
}

/// The gradient of one adapter from one sequence.
pub struct LoraGradient {
    /// Which adapter of the layer, and which sequence of the batch.
    pub adapter: usize,
    pub sequence: usize,
    /// `[r, in]`
    pub a: Tensor,
    /// `[out, r]`
    pub b: Tensor,
    /// `[out]`, where the adapter has a magnitude
    pub magnitude: Option<Tensor>,
}

/// What [`Linear::backward`] returns.
pub struct Gradients {
    /// `[tokens, in]`, where it was asked for
    pub x: Option<Tensor>,
    /// For each adapter and sequence, adapters first
    pub lora: Vec<LoraGradient>,
}

impl Linear<'_> {
    /// `x` is `[tokens, in]`; `starts` holds where each sequence starts, and the number of tokens last;
    /// `residual`, `[tokens, out]`, is added to the result, `[tokens, out]`.
    ///
    /// # Errors
    /// If candle refuses the shapes or types.
    pub fn forward(&self, compute: Compute, x: &Tensor, starts: &[usize], residual: Option<&Tensor>) -> Result<Tensor> {
        if compute.is_fused() {
            self.forward_fused(compute.isa, x, starts, residual)
        } else {
            reference::forward(compute, self, x, starts, residual)
        }
    }

    /// `dy` is `[tokens, out]`, `x` and `starts` as in the forward; the input's gradient is formed
    /// where `want_x` asks for it.
    ///
    /// # Errors
    /// If candle refuses the shapes or types.
    pub fn backward(
        &self,
        compute: Compute,
        dy: &Tensor,
        x: &Tensor,
        starts: &[usize],
        want_x: bool,
    ) -> Result<Gradients> {
        if compute.is_fused() {
            self.backward_fused(compute.isa, dy, x, starts, want_x)
        } else {
            reference::backward(compute, self, dy, x, starts, want_x)
        }
    }

    /// [`Self::forward`] for a few rows that are not learned from, as a step of generation has them: fast where
    /// the weights are read from memory for them alone. The adapters' dropout is left out.
    ///
    /// # Errors
    /// If candle refuses the shapes or types.
    pub fn forward_few(&self, compute: Compute, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        let mut layer = self.clone();
        layer.lora.iter_mut().for_each(|lora| lora.dropout = None);
        if !compute.is_fused() {
            return reference::forward(compute, &layer, x, &[], residual);
        }
        let mut y = product_few_slice(compute.isa, x, self.weight)?;
        let scaled = layer.has_magnitudes();
        if !scaled {
            self.add_rest(&mut y, residual)?;
        }
        layer.add_adapters(compute.isa, x, &[], &mut y)?;
        if scaled {
            self.add_rest(&mut y, residual)?;
        }
        from_vec(y, (x.dim(0)?, self.weight.dim(0)?))
    }

    fn forward_fused(&self, isa: Isa, x: &Tensor, starts: &[usize], residual: Option<&Tensor>) -> Result<Tensor> {
        let (tokens, inner) = x.dims2()?;
        let out = self.weight.dim(0)?;
        let mut y = uninit(tokens * out);
        let scaled = self.has_magnitudes();
        let preset = !scaled && self.preset(&mut y, residual)?;
        with_rhs(self.weight, |w| {
            with_slice(x, |x| {
                matmul(isa, Mat::new(x, tokens, inner), w.t(), &mut MatMut::new(&mut y, tokens, out), preset);
            })
        })??;
        self.add_adapters(isa, x, starts, &mut y)?;
        if scaled {
            self.add_rest(&mut y, residual)?;
        }
        from_vec(y, (tokens, out))
    }

    /// Whether an adapter scales what the product gives, which then must be alone in its columns.
    fn has_magnitudes(&self) -> bool {
        self.lora.iter().any(|lora| lora.magnitude.is_some())
    }

    fn add_adapters(&self, isa: Isa, x: &Tensor, starts: &[usize], y: &mut [f32]) -> Result<()> {
        let width = self.weight.dim(0)?;
        self.lora.iter().try_for_each(|lora| lora.add_forward(isa, self.weight, x, starts, y, width))
    }

    /// Fills `y` with what the product is added to; false where there is nothing.
    fn preset(&self, y: &mut [f32], residual: Option<&Tensor>) -> Result<bool> {
        let out = self.weight.dim(0)?;
        if let Some(residual) = residual {
            with_slice(residual, |r| {
                y.par_chunks_mut(1 << 16).zip(r.par_chunks(1 << 16)).for_each(|(y, r)| y.copy_from_slice(r));
            })?;
        }
        let Some(bias) = self.bias else { return Ok(residual.is_some()) };
        with_slice(bias, |bias| {
            y.par_chunks_mut(out).for_each(|row| match residual {
                Some(_) => row.iter_mut().zip(bias).for_each(|(y, b)| *y += b),
                None => row.copy_from_slice(bias),
            });
        })?;
        Ok(true)
    }

    /// Adds bias and residual.
    fn add_rest(&self, y: &mut [f32], residual: Option<&Tensor>) -> Result<()> {
        let out = self.weight.dim(0)?;
        if let Some(bias) = self.bias {
            with_slice(bias, |bias| {
                for_row_blocks(y, out, |_, rows| {
                    rows.chunks_mut(out).for_each(|row| row.iter_mut().zip(bias).for_each(|(y, b)| *y += b));
                });
            })?;
        }
        if let Some(residual) = residual {
            with_slice(residual, |residual| {
                for_row_blocks(y, out, |first, rows| {
                    rows.iter_mut().zip(&residual[first * out..]).for_each(|(y, r)| *y += r);
                });
            })?;
        }
        Ok(())
    }

    fn backward_fused(&self, isa: Isa, dy: &Tensor, x: &Tensor, starts: &[usize], want_x: bool) -> Result<Gradients> {
        let (tokens, inner) = x.dims2()?;
        let width = self.weight.dim(0)?;
        let scales = self.lora.iter().map(|lora| lora.scales(isa, self.weight)).collect::<Result<Vec<_>>>()?;
        with_slices([dy, x], |[dy, x]| {
            let through = dora::through(&self.lora, &scales, dy, width);
            let rows = Rows { isa, dy, through: through.as_deref().unwrap_or(dy), width, x, inner, starts };
            let mut dx = want_x.then(|| uninit(tokens * inner));
            if let Some(dx) = &mut dx {
                let dy = Mat::new(rows.through, tokens, width);
                with_rhs(self.weight, |w| matmul(isa, dy, w, &mut MatMut::new(dx, tokens, inner), false))?;
            }
            let mut gradients = Vec::with_capacity(self.lora.len() * starts.len());
            for (i, (lora, scales)) in self.lora.iter().zip(&scales).enumerate() {
                gradients.extend(lora.add_backward(i, scales.as_ref(), &rows, dx.as_deref_mut())?);
            }
            let x = dx.map(|dx| from_vec(dx, (tokens, inner))).transpose()?;
            Ok(Gradients { x, lora: gradients })
        })?
    }
}
