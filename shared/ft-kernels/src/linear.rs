//! The linear layer with low-rank adapters, forward and backward.
//!
//! `y = x·Wᵀ + bias + residual`, and for each adapter, on its own range of output columns,
//! `y += s·drop(x)·Aᵀ·Bᵀ` (Hu et al., "LoRA", 2021, section 4.1). `W` is frozen: it gets no gradient, so its
//! backward is one product and not two. The gradients of `A` and `B` are formed one sequence at a
//! time, for the sequence is the unit of summation of a training step.

use candle_core::{DType, Result, Storage, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;

use crate::gemm::{Mat, MatMut, Rhs, matmul};
use crate::philox::{self, Stream};
use crate::skinny::{Weights, skinny};
use crate::tensor::{from_vec, is_fused, uninit, with_slice, with_slices};

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
    pub fn forward(&self, x: &Tensor, starts: &[usize], residual: Option<&Tensor>) -> Result<Tensor> {
        if is_fused(x) && self.weight.device().is_cpu() {
            self.forward_fused(x, starts, residual)
        } else {
            reference::forward(self, x, starts, residual)
        }
    }

    /// `dy` is `[tokens, out]`, `x` and `starts` as in the forward; the input's gradient is formed
    /// where `want_x` asks for it.
    ///
    /// # Errors
    /// If candle refuses the shapes or types.
    pub fn backward(&self, dy: &Tensor, x: &Tensor, starts: &[usize], want_x: bool) -> Result<Gradients> {
        if is_fused(x) && is_fused(dy) && self.weight.device().is_cpu() {
            self.backward_fused(dy, x, starts, want_x)
        } else {
            reference::backward(self, dy, x, starts, want_x)
        }
    }

    /// [`Self::forward`] for a few rows that are not learned from, as a step of generation has them: fast where
    /// the weights are read from memory for them alone. The adapters' dropout is left out.
    ///
    /// # Errors
    /// If candle refuses the shapes or types.
    pub fn forward_few(&self, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        if !is_fused(x) || !self.weight.device().is_cpu() {
            let lora = self.lora.iter().map(bare).collect();
            return reference::forward(&Linear { lora, ..self.clone() }, x, &[], residual);
        }
        let rows = x.dim(0)?;
        let out = self.weight.dim(0)?;
        let mut y = product_few_slice(x, self.weight)?;
        if let Some(bias) = self.bias {
            with_slice(bias, |bias| {
                y.chunks_mut(out).for_each(|row| row.iter_mut().zip(bias).for_each(|(y, b)| *y += b));
            })?;
        }
        if let Some(residual) = residual {
            with_slice(residual, |residual| y.iter_mut().zip(residual).for_each(|(y, r)| *y += r))?;
        }
        for lora in &self.lora {
            bare(lora).add_forward(x, &[], &mut y, out)?;
        }
        from_vec(y, (rows, out))
    }

    fn forward_fused(&self, x: &Tensor, starts: &[usize], residual: Option<&Tensor>) -> Result<Tensor> {
        let (tokens, inner) = x.dims2()?;
        let out = self.weight.dim(0)?;
        let mut y = uninit(tokens * out);
        let preset = self.preset(&mut y, residual)?;
        with_rhs(self.weight, |w| {
            with_slice(x, |x| matmul(Mat::new(x, tokens, inner), w.t(), &mut MatMut::new(&mut y, tokens, out), preset))
        })??;
        for lora in &self.lora {
            lora.add_forward(x, starts, &mut y, out)?;
        }
        from_vec(y, (tokens, out))
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

    fn backward_fused(&self, dy: &Tensor, x: &Tensor, starts: &[usize], want_x: bool) -> Result<Gradients> {
        let (tokens, inner) = x.dims2()?;
        let out = self.weight.dim(0)?;
        let mut dx = want_x.then(|| uninit(tokens * inner));
        if let Some(dx) = &mut dx {
            with_rhs(self.weight, |w| {
                with_slice(dy, |dy| matmul(Mat::new(dy, tokens, out), w, &mut MatMut::new(dx, tokens, inner), false))
            })??;
        }
        let mut gradients = Vec::with_capacity(self.lora.len() * starts.len());
        for (i, lora) in self.lora.iter().enumerate() {
            gradients.extend(lora.add_backward(i, dy, x, starts, dx.as_deref_mut())?);
        }
        let x = dx.map(|dx| from_vec(dx, (tokens, inner))).transpose()?;
        Ok(Gradients { x, lora: gradients })
    }
}

impl Lora<'_> {
    /// Adds this adapter's output to its columns of `y` (`[tokens, width]`).
    fn add_forward(&self, x: &Tensor, starts: &[usize], y: &mut [f32], width: usize) -> Result<()> {
        let (tokens, inner) = x.dims2()?;
        let (out, r) = self.b.dims2()?;
        with_slices([x, self.a, self.b], |[x, a, b]| {
            let kept = self.dropped(x, inner, starts);
            let low = self.low(kept.as_deref().unwrap_or(x), a, inner);
            let mut y = MatMut::strided(&mut y[self.column..], tokens, out, width);
            matmul(Mat::new(&low, tokens, r), Rhs::F32(Mat::new(b, out, r)).t(), &mut y, true);
        })
    }

    /// `s·x·Aᵀ`, `[tokens, r]`
    fn low(&self, x: &[f32], a: &[f32], inner: usize) -> Vec<f32> {
        let (tokens, r) = (x.len() / inner, a.len() / inner);
        let mut low = uninit(tokens * r);
        let a = Rhs::F32(Mat::new(a, r, inner)).t();
        matmul(Mat::new(x, tokens, inner), a, &mut MatMut::new(&mut low, tokens, r), false);
        low.iter_mut().for_each(|u| *u *= self.scaling);
        low
    }

    /// Adds this adapter's part to `dx` and returns its gradients, one a sequence.
    fn add_backward(
        &self,
        adapter: usize,
        dy: &Tensor,
        x: &Tensor,
        starts: &[usize],
        dx: Option<&mut [f32]>,
    ) -> Result<Vec<LoraGradient>> {
        let ((tokens, width), inner, (out, r)) = (dy.dims2()?, x.dim(1)?, self.b.dims2()?);
        let found: Vec<(Vec<f32>, Vec<f32>)> = with_slices([dy, x, self.a, self.b], |[dy, x, a, b]| {
            let dy = &dy[self.column..];
            let mut dlow = uninit(tokens * r);
            let dy_all = Mat::strided(dy, tokens, out, width);
            matmul(dy_all, Rhs::F32(Mat::new(b, out, r)), &mut MatMut::new(&mut dlow, tokens, r), false);
            dlow.iter_mut().for_each(|u| *u *= self.scaling);
            let kept = self.dropped(x, inner, starts);
            if let Some(dx) = dx {
                self.add_to_input(&dlow, a, inner, starts, dx);
            }
            let x = kept.as_deref().unwrap_or(x);
            let low = self.low(x, a, inner);
            let sequence = |span: &[usize]| {
                let (from, length) = (span[0], span[1] - span[0]);
                let (mut da, mut db) = (uninit(r * inner), uninit(out * r));
                let x = Rhs::F32(Mat::new(&x[from * inner..][..length * inner], length, inner));
                let dlow = Mat::new(&dlow[from * r..][..length * r], length, r).t();
                matmul(dlow, x, &mut MatMut::new(&mut da, r, inner), false);
                let low = Rhs::F32(Mat::new(&low[from * r..][..length * r], length, r));
                let dy = Mat::strided(&dy[from * width..], length, out, width).t();
                matmul(dy, low, &mut MatMut::new(&mut db, out, r), false);
                (da, db)
            };
            starts.par_windows(2).map(sequence).collect()
        })?;
        found
            .into_iter()
            .enumerate()
            .map(|(sequence, (da, db))| {
                Ok(LoraGradient { adapter, sequence, a: from_vec(da, (r, inner))?, b: from_vec(db, (out, r))? })
            })
            .collect()
    }

    /// `dx += mask ⊙ (dlow·A)`
    fn add_to_input(&self, dlow: &[f32], a: &[f32], inner: usize, starts: &[usize], dx: &mut [f32]) {
        let tokens = dx.len() / inner;
        let r = a.len() / inner;
        let a = Rhs::F32(Mat::new(a, r, inner));
        let dlow = Mat::new(dlow, tokens, r);
        if self.dropout.is_none() {
            return matmul(dlow, a, &mut MatMut::new(dx, tokens, inner), true);
        }
        let mut part = uninit(tokens * inner);
        matmul(dlow, a, &mut MatMut::new(&mut part, tokens, inner), false);
        if let Some(masked) = self.dropped(&part, inner, starts) {
            dx.par_chunks_mut(inner).zip(masked.par_chunks(inner)).for_each(|(dx, part)| {
                dx.iter_mut().zip(part).for_each(|(dx, p)| *dx += p);
            });
        }
    }

    /// `x` (`[tokens, cols]`) times the dropout's mask; none where there is no dropout.
    fn dropped(&self, x: &[f32], cols: usize, starts: &[usize]) -> Option<Vec<f32>> {
        let dropout = self.dropout.as_ref()?;
        let mut kept = uninit(x.len());
        for (stream, span) in dropout.streams.iter().zip(starts.windows(2)) {
            kept[span[0] * cols..span[1] * cols]
                .par_chunks_mut(cols)
                .zip(x[span[0] * cols..].par_chunks(cols))
                .enumerate()
                .for_each(|(t, (kept, x))| {
                    philox::dropout_scale(stream, t, cols, dropout.p, kept);
                    kept.iter_mut().zip(x).for_each(|(k, x)| *k *= x);
                });
        }
        Some(kept)
    }
}

/// `x·Wᵀ` (or, with `transposed`, `x·W`) for a frozen `W` `[out, in]` of any float type, no adapters.
///
/// # Errors
/// If candle refuses the shapes or types.
pub fn product(x: &Tensor, weight: &Tensor, transposed: bool) -> Result<Tensor> {
    if !is_fused(x) || !weight.device().is_cpu() {
        return reference::product(x, weight, transposed);
    }
    let (rows, k) = x.dims2()?;
    let n = weight.dim(usize::from(transposed))?;
    let mut y = uninit(rows * n);
    with_rhs(weight, |w| {
        let w = if transposed { w } else { w.t() };
        with_slice(x, |x| matmul(Mat::new(x, rows, k), w, &mut MatMut::new(&mut y, rows, n), false))
    })??;
    from_vec(y, (rows, n))
}

/// The adapter without its dropout.
fn bare<'a>(lora: &Lora<'a>) -> Lora<'a> {
    Lora { dropout: None, ..lora.clone() }
}

/// [`product`] (not transposed) for a few rows: fast where the weights are read from memory for them alone.
///
/// # Errors
/// If candle refuses the shapes or types.
pub fn product_few(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    if !is_fused(x) || !weight.device().is_cpu() {
        return reference::product(x, weight, false);
    }
    from_vec(product_few_slice(x, weight)?, (x.dim(0)?, weight.dim(0)?))
}

fn product_few_slice(x: &Tensor, weight: &Tensor) -> Result<Vec<f32>> {
    let ((rows, k), (n, inner)) = (x.dims2()?, weight.dims2()?);
    if k != inner {
        candle_core::bail!("a product of rows of {k} with rows of {inner} elements");
    }
    let mut y = uninit(rows * n);
    let (storage, layout) = weight.storage_and_layout();
    let (Storage::Cpu(storage), Some((from, to))) = (&*storage, layout.contiguous_offsets()) else {
        candle_core::bail!("a fused product needs a contiguous matrix on the CPU");
    };
    let weights = match weight.dtype() {
        DType::F32 => Weights::F32(&storage.as_slice::<f32>()?[from..to]),
        DType::BF16 => Weights::Bf16(&storage.as_slice::<bf16>()?[from..to]),
        DType::F16 => Weights::F16(&storage.as_slice::<f16>()?[from..to]),
        other => candle_core::bail!("a frozen matrix is f32, bf16 or f16, found {other:?}"),
    };
    with_slice(x, |x| skinny(x, weights, k, &mut y))?;
    Ok(y)
}

/// Calls `f` with a contiguous matrix of any float type on the CPU.
fn with_rhs<R>(weight: &Tensor, f: impl FnOnce(Rhs<'_>) -> R) -> Result<R> {
    let (rows, cols) = weight.dims2()?;
    let (storage, layout) = weight.storage_and_layout();
    let (Storage::Cpu(storage), Some((from, to))) = (&*storage, layout.contiguous_offsets()) else {
        candle_core::bail!("a fused product needs a contiguous matrix on the CPU");
    };
    let rhs = match weight.dtype() {
        DType::F32 => Rhs::F32(Mat::new(&storage.as_slice::<f32>()?[from..to], rows, cols)),
        DType::BF16 => Rhs::Bf16(Mat::new(&storage.as_slice::<bf16>()?[from..to], rows, cols)),
        DType::F16 => Rhs::F16(Mat::new(&storage.as_slice::<f16>()?[from..to], rows, cols)),
        other => candle_core::bail!("a frozen matrix is f32, bf16 or f16, found {other:?}"),
    };
    Ok(f(rhs))
}

pub mod reference {
    //! The same in plain candle operations, for every device.

    use super::{Gradients, Linear, Lora, LoraGradient, Result, Tensor, from_vec, philox};

    /// See [`super::Linear::forward`]; differentiable by candle.
    ///
    /// # Errors
    /// If candle refuses the shapes or types.
    pub fn forward(layer: &Linear<'_>, x: &Tensor, starts: &[usize], residual: Option<&Tensor>) -> Result<Tensor> {
        let mut y = product(x, layer.weight, false)?;
        if let Some(bias) = layer.bias {
            y = y.broadcast_add(bias)?;
        }
        if let Some(residual) = residual {
            y = (y + residual)?;
        }
        let width = y.dim(1)?;
        for lora in &layer.lora {
            let part = low(lora, &masked(lora, x, starts)?)?.matmul(&lora.b.t()?)?;
            let right = width - lora.column - part.dim(1)?;
            y = (y + part.pad_with_zeros(1, lora.column, right)?)?;
        }
        Ok(y)
    }

    /// See [`super::Linear::backward`].
    ///
    /// # Errors
    /// If candle refuses the shapes or types.
    pub fn backward(layer: &Linear<'_>, dy: &Tensor, x: &Tensor, starts: &[usize], want_x: bool) -> Result<Gradients> {
        let mut dx = want_x.then(|| product(dy, layer.weight, true)).transpose()?;
        let mut gradients = Vec::new();
        for (adapter, lora) in layer.lora.iter().enumerate() {
            let dy = dy.narrow(1, lora.column, lora.b.dim(0)?)?.contiguous()?;
            let dlow = (dy.matmul(lora.b)? * f64::from(lora.scaling))?;
            if let Some(so_far) = &dx {
                dx = Some((so_far + masked(lora, &dlow.matmul(lora.a)?, starts)?)?);
            }
            let x = masked(lora, x, starts)?;
            let low = low(lora, &x)?;
            for (sequence, span) in starts.windows(2).enumerate() {
                let rows = |t: &Tensor| t.narrow(0, span[0], span[1] - span[0])?.contiguous();
                let a = rows(&dlow)?.t()?.matmul(&rows(&x)?)?;
                let b = rows(&dy)?.t()?.matmul(&rows(&low)?)?;
                gradients.push(LoraGradient { adapter, sequence, a, b });
            }
        }
        Ok(Gradients { x: dx, lora: gradients })
    }

    /// See [`super::product`].
    ///
    /// # Errors
    /// If candle refuses the shapes or types.
    pub fn product(x: &Tensor, weight: &Tensor, transposed: bool) -> Result<Tensor> {
        let weight = weight.to_dtype(x.dtype())?;
        if transposed { x.matmul(&weight) } else { x.matmul(&weight.t()?) }
    }

    /// `s·x·Aᵀ`
    fn low(lora: &Lora<'_>, x: &Tensor) -> Result<Tensor> {
        x.matmul(&lora.a.t()?)? * f64::from(lora.scaling)
    }

    /// `x` times the adapter's dropout mask, drawn on the host.
    fn masked(lora: &Lora<'_>, x: &Tensor, starts: &[usize]) -> Result<Tensor> {
        let Some(dropout) = &lora.dropout else { return Ok(x.clone()) };
        let (tokens, cols) = x.dims2()?;
        let mut mask = vec![0.0; tokens * cols];
        for (stream, span) in dropout.streams.iter().zip(starts.windows(2)) {
            for (t, row) in mask[span[0] * cols..span[1] * cols].chunks_mut(cols).enumerate() {
                philox::dropout_scale(stream, t, cols, dropout.p, row);
            }
        }
        x * from_vec(mask, (tokens, cols))?.to_device(x.device())?
    }
}
