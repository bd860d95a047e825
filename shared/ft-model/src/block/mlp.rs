//! The forward of the block's MLP, plain or a mixture of experts.

use candle_core::Tensor;
use ft_kernels::activation::{gated, plain};

use super::kept::KeptMlp;
use super::parts::Block;
use crate::error::Result;
use crate::projection::Site;
use crate::spans::timed;

impl Block<'_> {
    /// The MLP as far as backward needs it; `normed` is what it reads, `[tokens, hidden]`.
    pub(super) fn mlp_inner(&self, normed: &Tensor) -> Result<KeptMlp> {
        Ok(match self.arch.experts_of(self.layer) {
            Some(experts) => KeptMlp::Mixture(self.routed(normed, experts)?),
            None => KeptMlp::Plain(self.site(Site::GateUp, normed, None)?),
        })
    }

    /// What the MLP gives, `[tokens, hidden]`, with `residual` added where it is handed over.
    pub(super) fn mlp_output(&self, kept: &KeptMlp, residual: Option<&Tensor>) -> Result<Tensor> {
        match kept {
            KeptMlp::Plain(gate_up) => self.site(Site::Down, &self.activated(gate_up)?, residual),
            KeptMlp::Mixture(routed) => self.mixed(routed, residual),
        }
    }

    /// The first product through its activation, `[tokens, intermediate]`.
    pub(super) fn activated(&self, gate_up: &Tensor) -> Result<Tensor> {
        let (activation, _timed) = (self.activation(), timed!("activation"));
        Ok(if self.arch.gated {
            gated(self.compute, gate_up, activation)?
        } else {
            plain(self.compute, gate_up, activation)?
        })
    }
}
