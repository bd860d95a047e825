//! A norm of the residual stream, forward and backward, of whichever kind the architecture has.

use candle_core::Tensor;
use ft_kernels::norm::{layer_norm, layer_norm_backward_add, rms_norm, rms_norm_backward, rms_norm_backward_add};

use crate::arch::{Architecture, NormKind};
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
    pub fn forward(&self, arch: &Architecture, x: &Tensor) -> Result<Tensor> {
        Ok(match arch.norm {
            NormKind::Rms => rms_norm(x, &self.weight, arch.norm_eps)?,
            NormKind::Layer => layer_norm(x, &self.weight, self.bias.as_ref(), arch.norm_eps)?,
        })
    }

    /// The gradient of `x` from that of the result, plus `residual`, the gradient that comes around the norm.
    ///
    /// # Errors
    /// If the operator fails.
    pub fn backward(&self, arch: &Architecture, dy: &Tensor, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        let (w, eps) = (&self.weight, arch.norm_eps);
        Ok(match (arch.norm, residual) {
            (NormKind::Layer, residual) => layer_norm_backward_add(dy, x, w, eps, residual)?,
            (NormKind::Rms, Some(residual)) => rms_norm_backward_add(dy, x, w, eps, residual)?,
            (NormKind::Rms, None) => rms_norm_backward(dy, x, w, eps)?,
        })
    }
}
