//! The block's forward: one for training, evaluation and generation.

use candle_core::Tensor;
use ft_kernels::columns::split_heads;
use ft_kernels::residual::add_scaled;
use ft_kernels::rope::{Direction, rope};
use ft_kernels::row_scale::row_scale;

use super::attention::{Attended, Attention, attention_spec};
use super::kept::Kept;
use super::parts::Block;
use crate::arch::QkNorm;
use crate::error::Result;
use crate::layers::NormWeights;
use crate::projection::Site;
use crate::spans::timed;

impl Block<'_> {
    /// `x` is `[tokens, hidden]`; what backward needs of the forward, and what [`Self::output`] needs.
    ///
    /// # Errors
    /// If an operator fails.
    pub fn inner(&self, x: &Tensor, attention: &mut dyn Attention) -> Result<Kept> {
        let w = self.weights;
        let normed = self.normed(w.input_norm.as_ref(), x)?;
        let qkv = self.site(Site::Qkv, &normed, None)?;
        drop(normed);
        let qkv = self.by_kind(qkv)?;
        let turned = self.turned(&qkv)?;
        let Attended { rows: attended, lse } =
            attention.attend(self.compute, self.layer, &attention_spec(self.arch, self.layer), &turned)?;
        // Without a norm of heads nothing but the turned ones is needed again.
        let qkv = if self.arch.qk_norm == QkNorm::None { turned } else { qkv };
        let (middle, projected) =
            self.add(x, w.attention_norm.as_ref(), |residual| self.site(Site::O, &attended, residual))?;
        let normed = self.normed(w.mlp_norm.as_ref(), if self.arch.parallel { x } else { &middle })?;
        let mlp = self.mlp_inner(&normed)?;
        drop(normed);
        let down = w.output_norm.is_some().then(|| self.mlp_output(&mlp, None)).transpose()?;
        Ok(Kept { qkv, attended, lse, projected, middle, mlp, down })
    }

    /// The block's output, `[tokens, hidden]`.
    ///
    /// # Errors
    /// If an operator fails.
    pub fn output(&self, kept: &Kept) -> Result<Tensor> {
        let (y, _) = self.add(&kept.middle, self.weights.output_norm.as_ref(), |residual| match &kept.down {
            Some(down) => Ok(down.clone()),
            None => self.mlp_output(&kept.mlp, residual),
        })?;
        Ok(y)
    }

    /// Adds a branch to the residual stream `x`, through a norm if there is one. `branch` computes it, and adds `x`
    /// itself where it is handed over. Also returns the branch before its norm.
    fn add(
        &self,
        x: &Tensor,
        norm: Option<&NormWeights>,
        branch: impl FnOnce(Option<&Tensor>) -> Result<Tensor>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let scale = self.arch.residual_scale as f32;
        match norm {
            None if scale.total_cmp(&1.0).is_eq() => Ok((branch(Some(x))?, None)),
            None => Ok((add_scaled(self.compute, x, branch(None)?, scale)?, None)),
            Some(norm) => {
                let branch = branch(None)?;
                Ok((add_scaled(self.compute, x, norm.forward(self.compute, self.arch, &branch)?, scale)?, Some(branch)))
            }
        }
    }

    /// From what the product gives, all queries, then all keys, then all values.
    fn by_kind(&self, qkv: Tensor) -> Result<Tensor> {
        let arch = self.arch;
        Ok(if arch.family.is_by_head() { split_heads(self.compute, &qkv, arch.num_heads, arch.head_dim)? } else { qkv })
    }

    /// Queries and keys normalised and turned by their positions, and queries grown by them. Where heads have no norm
    /// this happens in the memory of `qkv`.
    pub(super) fn turned(&self, qkv: &Tensor) -> Result<Tensor> {
        let _timed = timed!("rotation");
        let qkv = if self.weights.qk_norm.is_some() { qkv.copy()? } else { qkv.clone() };
        let turned = if self.arch.turns_first {
            self.normed_heads(self.rotate(qkv, Direction::Forward)?)?
        } else {
            self.rotate(self.normed_heads(qkv)?, Direction::Forward)?
        };
        self.grown(turned)
    }

    /// The heads of queries and keys through their norms, if they have some.
    fn normed_heads(&self, mut qkv: Tensor) -> Result<Tensor> {
        let (arch, Some([q, k])) = (self.arch, &self.weights.qk_norm) else { return Ok(qkv) };
        for (w, column, columns) in [(q, 0, arch.query_columns()), (k, arch.query_columns(), arch.key_columns())] {
            qkv = w.forward_heads(self.compute, arch, qkv, column, columns)?;
        }
        Ok(qkv)
    }

    /// Queries times what they grow by with their positions; their gradient comes back through the same.
    pub(super) fn grown(&self, qkv: Tensor) -> Result<Tensor> {
        match &self.rows.query_factors {
            Some(factors) => Ok(row_scale(self.compute, qkv, factors, self.arch.query_columns())?),
            None => Ok(qkv),
        }
    }

    /// Turns the heads of queries and keys, the first ones of the fused product, if this layer does.
    pub(super) fn rotate(&self, qkv: Tensor, direction: Direction) -> Result<Tensor> {
        let Some(which) = self.arch.layers[self.layer].rope else { return Ok(qkv) };
        let heads = self.arch.num_heads + self.arch.num_kv_heads;
        Ok(rope(self.compute, qkv, &self.rows.ropes[which], heads, self.arch.head_dim, direction)?)
    }
}
