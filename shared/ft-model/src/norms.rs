//! A norm of the residual stream, forward and backward, of whichever kind the architecture has.

use candle_core::{DType, Tensor};
use ft_kernels::Compute;
use ft_kernels::head_norm::{head_norm, head_norm_backward};
use ft_kernels::norm::{layer_norm, layer_norm_backward_add, rms_norm, rms_norm_backward, rms_norm_backward_add};

use crate::arch::{Architecture, NormKind, QkNorm};
use crate::error::Result;
use crate::layers::NormWeights;

impl NormWeights {
    /// The same norm with another bias.
    #[must_use]
    pub fn with_bias(&self, bias: &Tensor) -> Self {
        Self { weight: self.weight.clone(), bias: Some(bias.clone()) }
    }

    /// Normalises the rows of `x`, `[rows, hidden]`.
    ///
    /// # Errors
    /// If the operator fails.
    pub fn forward(&self, compute: Compute, arch: &Architecture, x: &Tensor) -> Result<Tensor> {
        Ok(match arch.norm {
            NormKind::Rms => rms_norm(compute, x, &self.weight, arch.norm_eps)?,
            NormKind::Layer { .. } => layer_norm(compute, x, &self.weight, self.bias.as_ref(), arch.norm_eps)?,
        })
    }

    /// Normalises some columns of `x`, `[rows, columns]`, in groups as wide as the weight: heads, or all of them together;
    /// or heads each by its own part of the weight.
    ///
    /// # Errors
    /// If the operator fails.
    pub fn forward_heads(
        &self,
        compute: Compute,
        arch: &Architecture,
        x: Tensor,
        column: usize,
        columns: usize,
    ) -> Result<Tensor> {
        let (w, eps) = (&self.weight, arch.norm_eps);
        if arch.qk_norm == QkNorm::Each {
            let ones = ones(arch, &x)?;
            let normed = layer_norm(compute, &heads(&x, column, columns, arch.head_dim)?, &ones, None, eps)?;
            return with_heads(
                &x,
                column,
                columns,
                &normed.reshape((x.dim(0)?, columns))?.broadcast_mul(&self.like(&x)?)?,
            );
        }
        if arch.norm == NormKind::Rms {
            return Ok(head_norm(compute, x, w, column, columns / w.elem_count(), eps)?);
        }
        let normed = layer_norm(compute, &heads(&x, column, columns, w.elem_count())?, w, self.bias.as_ref(), eps)?;
        with_heads(&x, column, columns, &normed)
    }

    /// The gradient of `x` from that of [`Self::forward_heads`], which it takes the place of.
    ///
    /// # Errors
    /// If the operator fails.
    pub fn backward_heads(
        &self,
        compute: Compute,
        arch: &Architecture,
        dy: Tensor,
        x: &Tensor,
        column: usize,
        columns: usize,
    ) -> Result<Tensor> {
        let (w, eps) = (&self.weight, arch.norm_eps);
        if arch.qk_norm == QkNorm::Each {
            let (ones, width) = (ones(arch, x)?, arch.head_dim);
            let weighted = dy.narrow(1, column, columns)?.broadcast_mul(&self.like(x)?)?;
            let weighted = weighted.reshape((x.dim(0)? * (columns / width), width))?;
            let x = heads(x, column, columns, width)?;
            let dx = layer_norm_backward_add(compute, &weighted, &x, &ones, eps, None)?;
            return with_heads(&dy, column, columns, &dx);
        }
        if arch.norm == NormKind::Rms {
            return Ok(head_norm_backward(compute, dy, x, w, column, columns / w.elem_count(), eps)?);
        }
        let of = |t: &Tensor| heads(t, column, columns, w.elem_count());
        let dx = layer_norm_backward_add(compute, &of(&dy)?, &of(x)?, w, eps, None)?;
        with_heads(&dy, column, columns, &dx)
    }

    /// The gradient of `x` from that of the result, plus `residual`, the gradient that comes around the norm.
    ///
    /// # Errors
    /// If the operator fails.
    pub fn backward(
        &self,
        compute: Compute,
        arch: &Architecture,
        dy: &Tensor,
        x: &Tensor,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (w, eps) = (&self.weight, arch.norm_eps);
        Ok(match (arch.norm, residual) {
            (NormKind::Layer { .. }, residual) => layer_norm_backward_add(compute, dy, x, w, eps, residual)?,
            (NormKind::Rms, Some(residual)) => rms_norm_backward_add(compute, dy, x, w, eps, residual)?,
            (NormKind::Rms, None) => rms_norm_backward(compute, dy, x, w, eps)?,
        })
    }
}

impl NormWeights {
    /// The weight in the type of `x`.
    fn like(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.weight.to_dtype(x.dtype())?)
    }
}

/// The weight of a head's norm that multiplies by nothing.
fn ones(arch: &Architecture, x: &Tensor) -> Result<Tensor> {
    Ok(Tensor::ones(arch.head_dim, DType::F32, x.device())?)
}

/// Some columns as rows of one head each, `[rows · heads, width]`.
fn heads(x: &Tensor, column: usize, columns: usize, width: usize) -> Result<Tensor> {
    let heads = x.dim(0)? * (columns / width);
    Ok(x.narrow(1, column, columns)?.contiguous()?.reshape((heads, width))?)
}

/// `x` with heads in the place of some of its columns.
fn with_heads(x: &Tensor, column: usize, columns: usize, heads: &Tensor) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    let own = heads.reshape((rows, columns))?;
    let (before, after) = (x.narrow(1, 0, column)?, x.narrow(1, column + columns, width - column - columns)?);
    let parts = [before, own, after].into_iter().filter(|part| part.elem_count() > 0);
    Ok(Tensor::cat(&parts.collect::<Vec<_>>(), 1)?.contiguous()?)
}
