//! The linear layer on each backend.

use candle_core::{Result, Tensor};

use super::{Gradients, Linear, backward, forward, reference};
use crate::backend::Compute;

impl Linear<'_> {
    /// `x` is `[tokens, in]`; `starts` holds where each sequence starts, and the number of tokens last;
    /// `residual`, `[tokens, out]`, is added to the result, `[tokens, out]`.
    ///
    /// # Errors
    /// If candle refuses the shapes or types.
    pub fn forward(&self, compute: Compute, x: &Tensor, starts: &[usize], residual: Option<&Tensor>) -> Result<Tensor> {
        if compute.is_fused() {
            forward::forward(compute.isa, self, x, starts, residual)
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
            backward::backward(compute.isa, self, dy, x, starts, want_x)
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
        forward::forward_few(compute.isa, &layer, x, residual)
    }
}
