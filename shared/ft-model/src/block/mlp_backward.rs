//! The backward of the block's MLP.

use candle_core::Tensor;
use ft_kernels::activation::{gated_backward_inplace, plain_backward_inplace};

use super::bias_sums::BiasSums;
use super::kept::KeptMlp;
use super::parts::Block;
use crate::error::Result;
use crate::projection::Site;
use crate::sink::Sink;
use crate::spans::timed;

impl Block<'_> {
    /// The gradient of what the MLP reads, which `normed` forms again, from that of what it gives, `dy`.
    pub(super) fn mlp_backward(
        &self,
        dy: Tensor,
        kept: KeptMlp,
        normed: impl FnOnce() -> Result<Tensor>,
        biases: &mut BiasSums,
        sink: &mut Sink<'_>,
    ) -> Result<Tensor> {
        let gate_up = match kept {
            KeptMlp::Plain(gate_up) => gate_up,
            KeptMlp::Mixture(routed) => return self.mixture_backward(&dy, routed, &normed()?, sink),
        };
        let hidden = self.activated(&gate_up)?;
        let dhidden = self.site_backward(Site::Down, &dy, &hidden, biases, sink)?;
        drop((hidden, dy));
        let dgate_up = self.activation_gradient(&dhidden, gate_up)?;
        drop(dhidden);
        self.site_backward(Site::GateUp, &dgate_up, &normed()?, biases, sink)
    }

    /// The first product's gradient, in its memory.
    pub(super) fn activation_gradient(&self, dh: &Tensor, gate_up: Tensor) -> Result<Tensor> {
        let (activation, _timed) = (self.activation(), timed!("activation"));
        Ok(if self.arch.gated {
            gated_backward_inplace(self.compute, dh, gate_up, activation)?
        } else {
            plain_backward_inplace(self.compute, dh, gate_up, activation)?
        })
    }
}
