//! The block's MLP, plain or a mixture of experts.

use candle_core::Tensor;
use ft_kernels::activation::{gated, gated_backward_inplace, plain, plain_backward_inplace};

use super::mixture::Routed;
use super::{Block, Sink};
use crate::arch::Architecture;
use crate::error::Result;
use crate::projection::Site;

/// What backward needs of the MLP's forward.
pub(super) enum KeptMlp {
    /// `[tokens, 2·intermediate]`, or half of that without a gate
    Plain(Tensor),
    Mixture(Routed),
}

/// The numbers that [`KeptMlp`] holds for one token in a layer.
pub(super) fn kept_columns(arch: &Architecture, layer: usize) -> usize {
    match arch.experts_of(layer) {
        None => arch.gate_up_columns(arch.intermediate_size),
        // The experts' first products, the router's logits, and the choice with its weights.
        Some(e) => e.per_token * (arch.gate_up_columns(e.intermediate_size) + 4) + e.count,
    }
}

impl Block<'_> {
    /// The MLP as far as backward needs it; `normed` is what it reads, `[tokens, hidden]`.
    pub(super) fn mlp_inner(&self, normed: &Tensor) -> Result<KeptMlp> {
        let starts = self.rows.starts;
        Ok(match self.arch.experts_of(self.layer) {
            Some(experts) => KeptMlp::Mixture(self.routed(normed, experts, starts, &|linear, x, starts| {
                Ok(linear.forward(self.compute, x, starts, None)?)
            })?),
            None => KeptMlp::Plain(self.linear(Site::GateUp).forward(self.compute, normed, starts, None)?),
        })
    }

    /// What the MLP gives, `[tokens, hidden]`, with `residual` added where it is handed over.
    pub(super) fn mlp_output(&self, kept: &KeptMlp, residual: Option<&Tensor>) -> Result<Tensor> {
        let starts = self.rows.starts;
        match kept {
            KeptMlp::Plain(gate_up) => {
                Ok(self.linear(Site::Down).forward(self.compute, &self.activated(gate_up)?, starts, residual)?)
            }
            KeptMlp::Mixture(routed) => self.mixed(routed, residual, starts, &|linear, x, starts| {
                Ok(linear.forward(self.compute, x, starts, None)?)
            }),
        }
    }

    /// The gradient of what the MLP reads, which `normed` forms again, from that of what it gives, `dy`.
    pub(super) fn mlp_backward(
        &self,
        dy: Tensor,
        kept: KeptMlp,
        normed: impl FnOnce() -> Result<Tensor>,
        sink: &mut Sink<'_>,
    ) -> Result<Tensor> {
        let gate_up = match kept {
            KeptMlp::Plain(gate_up) => gate_up,
            KeptMlp::Mixture(routed) => return self.mixture_backward(&dy, routed, &normed()?, sink),
        };
        let hidden = self.activated(&gate_up)?;
        let dhidden = self.site_backward(Site::Down, &dy, &hidden, sink)?;
        drop((hidden, dy));
        let dgate_up = self.activation_gradient(&dhidden, gate_up)?;
        drop(dhidden);
        self.site_backward(Site::GateUp, &dgate_up, &normed()?, sink)
    }

    /// The first product through its activation, `[tokens, intermediate]`.
    pub(crate) fn activated(&self, gate_up: &Tensor) -> Result<Tensor> {
        let activation = self.arch.activation;
        Ok(if self.arch.gated { gated(self.compute, gate_up, activation)? } else { plain(self.compute, gate_up, activation)? })
    }

    /// The first product's gradient, in its memory.
    pub(super) fn activation_gradient(&self, dh: &Tensor, gate_up: Tensor) -> Result<Tensor> {
        let activation = self.arch.activation;
        Ok(if self.arch.gated {
            gated_backward_inplace(self.compute, dh, gate_up, activation)?
        } else {
            plain_backward_inplace(self.compute, dh, gate_up, activation)?
        })
    }
}
