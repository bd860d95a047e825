//! The block's backward.

use candle_core::Tensor;
use ft_kernels::attention::attention_backward;
use ft_kernels::columns::join_heads;
use ft_kernels::linear::LoraGradient;
use ft_kernels::residual::scaled;
use ft_kernels::rope::Direction;
use ft_kernels::rows::sum_rows;

use super::attention::attention_spec;
use super::bias_sums::BiasSums;
use super::kept::Kept;
use super::parts::Block;
use crate::arch::QkNorm;
use crate::error::Result;
use crate::layers::NormWeights;
use crate::projection::Site;
use crate::sink::{Gradient, Sink};
use crate::spans::{of_site, timed};
use crate::trainable::PairIds;
use crate::trained::NormSite;

impl Block<'_> {
    /// `dy` is the gradient of the output and `x` the input of the forward, `[tokens, hidden]`; hands the
    /// adapters' gradients to `sink` and returns the gradient of `x` where it is wanted.
    ///
    /// # Errors
    /// If an operator fails or `sink` does.
    pub fn backward(
        &self,
        dy: &Tensor,
        x: &Tensor,
        kept: Kept,
        want_x: bool,
        sink: &mut Sink<'_>,
    ) -> Result<Option<Tensor>> {
        let w = self.weights;
        let biases = &mut BiasSums::new(self.biases, self.rows.first_sequence);
        let Kept { qkv, attended, lse, projected, middle, mlp, down } = kept;
        let lse =
            lse.ok_or_else(|| missing("the softmax's denominators of attention, which a cache does not keep,"))?;
        let ddown = self.branch_gradient(NormSite::Output, w.output_norm.as_ref(), dy, down.as_ref(), biases, sink)?;
        drop(down);
        // What the MLP read: in a parallel block that is the block's own input.
        let read = if self.arch.parallel { x } else { &middle };
        let dnormed = self.mlp_backward(ddown, mlp, || self.normed(w.mlp_norm.as_ref(), read), biases, sink)?;
        let dread = self.norm_gradient(NormSite::Mlp, w.mlp_norm.as_ref(), &dnormed, [read, dy], biases, sink)?;
        drop((dnormed, middle));
        // Either way `dread` holds what goes around the MLP; in a parallel block it goes around the attention too.
        let dmiddle = if self.arch.parallel { dy } else { &dread };
        let norm = w.attention_norm.as_ref();
        let dprojected = self.branch_gradient(NormSite::Attention, norm, dmiddle, projected.as_ref(), biases, sink)?;
        let dattended = self.site_backward(Site::O, &dprojected, &attended, biases, sink)?;
        drop((dprojected, projected));
        let turned = if self.arch.qk_norm == QkNorm::None { qkv.clone() } else { self.turned(&qkv)? };
        let spec = attention_spec(self.arch, self.layer);
        let starts = self.rows.starts;
        let dturned = {
            let _timed = timed!("attention");
            attention_backward(self.compute, &dattended, &turned, &attended, &lse, &spec, starts)?
        };
        drop((dattended, attended, turned));
        let dqkv = self.turned_back(dturned, &qkv)?;
        drop(qkv);
        let normed = self.normed(w.input_norm.as_ref(), x)?;
        let want_norm = self.biases.norms.iter().any(|(_, site)| *site == NormSite::Input);
        let dnormed = self.product_backward(Site::Qkv, &dqkv, &normed, want_x || want_norm, biases, sink)?;
        drop((dqkv, normed));
        let Some(dnormed) = dnormed else { return Ok(None) };
        let dx = self.norm_gradient(NormSite::Input, w.input_norm.as_ref(), &dnormed, [x, &dread], biases, sink)?;
        Ok(want_x.then_some(dx))
    }

    /// The gradient of a branch before its norm, from that of the residual stream after it.
    fn branch_gradient(
        &self,
        site: NormSite,
        norm: Option<&NormWeights>,
        dy: &Tensor,
        branch: Option<&Tensor>,
        biases: &mut BiasSums,
        sink: &mut Sink<'_>,
    ) -> Result<Tensor> {
        let scale = self.arch.residual_scale as f32;
        let dy = if scale.total_cmp(&1.0).is_eq() { dy.clone() } else { scaled(self.compute, dy.copy()?, scale)? };
        match (norm, branch) {
            (Some(norm), Some(branch)) => {
                self.norm_bias(site, &dy, biases, sink)?;
                let _timed = timed!("norm");
                norm.backward(self.compute, self.arch, &dy, branch, None)
            }
            _ => Ok(dy),
        }
    }

    /// The gradient of what a branch read, `x`, from that of its norm's result, plus what goes around the branch.
    fn norm_gradient(
        &self,
        site: NormSite,
        norm: Option<&NormWeights>,
        dnormed: &Tensor,
        [x, around]: [&Tensor; 2],
        biases: &mut BiasSums,
        sink: &mut Sink<'_>,
    ) -> Result<Tensor> {
        let Some(norm) = norm else { return Ok((dnormed + around)?) };
        self.norm_bias(site, dnormed, biases, sink)?;
        let _timed = timed!("norm");
        norm.backward(self.compute, self.arch, dnormed, x, Some(around))
    }

    /// The gradient of a norm's bias, where that is trained.
    fn norm_bias(&self, site: NormSite, dy: &Tensor, biases: &mut BiasSums, sink: &mut Sink<'_>) -> Result<()> {
        for (id, _) in self.biases.norms.iter().filter(|(_, of)| *of == site) {
            biases.add(*id, sum_rows(self.compute, dy, self.rows.starts)?, sink)?;
        }
        Ok(())
    }

    /// The gradient of the product's result from that of [`Self::turned`].
    fn turned_back(&self, dturned: Tensor, qkv: &Tensor) -> Result<Tensor> {
        let arch = self.arch;
        let _timed = timed!("rotation");
        let d = self.grown(dturned)?;
        let d = if arch.turns_first {
            let d = self.normed_heads_back(d, &self.rotate(qkv.copy()?, Direction::Forward)?)?;
            self.rotate(d, Direction::Backward)?
        } else {
            self.normed_heads_back(self.rotate(d, Direction::Backward)?, qkv)?
        };
        Ok(if arch.family.is_by_head() { join_heads(self.compute, &d, arch.num_heads, arch.head_dim)? } else { d })
    }

    /// The gradient of what the norms of queries and keys read, `x`, from that of what they gave, in its place.
    fn normed_heads_back(&self, mut d: Tensor, x: &Tensor) -> Result<Tensor> {
        let (arch, Some([q, k])) = (self.arch, &self.weights.qk_norm) else { return Ok(d) };
        for (w, column, columns) in [(q, 0, arch.query_columns()), (k, arch.query_columns(), arch.key_columns())] {
            d = w.backward_heads(self.compute, arch, d, x, column, columns)?;
        }
        Ok(d)
    }

    /// [`Self::product_backward`] where the input's gradient is needed.
    pub(super) fn site_backward(
        &self,
        site: Site,
        dy: &Tensor,
        x: &Tensor,
        biases: &mut BiasSums,
        sink: &mut Sink<'_>,
    ) -> Result<Tensor> {
        wanted(self.product_backward(site, dy, x, true, biases, sink)?)
    }

    fn product_backward(
        &self,
        site: Site,
        dy: &Tensor,
        x: &Tensor,
        want_x: bool,
        biases: &mut BiasSums,
        sink: &mut Sink<'_>,
    ) -> Result<Option<Tensor>> {
        let ids: Vec<PairIds> = self.adapters_of(site).map(|adapted| adapted.ids).collect();
        let gradients = {
            let _timed = of_site(site);
            self.linear(site).backward(self.compute, dy, x, self.rows.starts, want_x)?
        };
        hand_over(gradients.lora, &ids, self.rows.first_sequence, sink)?;
        self.product_bias(site, dy, biases, sink)?;
        Ok(gradients.x)
    }

    /// The gradients of a product's trained biases.
    fn product_bias(&self, site: Site, dy: &Tensor, biases: &mut BiasSums, sink: &mut Sink<'_>) -> Result<()> {
        let mut trained = self.biases.products.iter().filter(|bias| bias.site == site).peekable();
        if trained.peek().is_none() {
            return Ok(());
        }
        let sums = sum_rows(self.compute, dy, self.rows.starts)?;
        for bias in trained {
            let own = |sums: &Tensor| Ok(sums.narrow(0, bias.column, bias.columns)?.copy()?);
            biases.add(bias.id, sums.iter().map(own).collect::<Result<_>>()?, sink)?;
        }
        Ok(())
    }
}

/// The error of what a backward cannot do without.
fn missing(what: &str) -> crate::Error {
    candle_core::Error::Msg(format!("{what} is missing")).into()
}

/// The gradient of a product's input, which was asked for.
pub(super) fn wanted(dx: Option<Tensor>) -> Result<Tensor> {
    dx.ok_or_else(|| missing("the gradient of a product's input"))
}

/// Hands a product's gradients over; `ids` are those of its adapters.
pub(super) fn hand_over(
    gradients: Vec<LoraGradient>,
    ids: &[PairIds],
    first_sequence: usize,
    sink: &mut Sink<'_>,
) -> Result<()> {
    for LoraGradient { adapter, sequence, a, b, magnitude } in gradients {
        let (ids, sequence) = (ids[adapter], first_sequence + sequence);
        sink(Gradient { id: ids.a, sequence, tensor: a })?;
        sink(Gradient { id: ids.b, sequence, tensor: b })?;
        if let (Some(id), Some(tensor)) = (ids.magnitude, magnitude) {
            sink(Gradient { id, sequence, tensor })?;
        }
    }
    Ok(())
}
