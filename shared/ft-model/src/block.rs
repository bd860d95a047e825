//! One decoder block, its forward and backward written out, for every family.
//!
//! Attention and MLP each read the residual stream, through a norm or not, and are added to it, through a norm or
//! not. What costs no matrix product to compute again (norms, rotations of normalised heads, gated activations) is never
//! kept; what else backward needs is [`Kept`], and may be dropped and computed again by a second forward.

mod mixture;
mod mlp;

pub(crate) use mixture::ProductOf;
use mlp::KeptMlp;

use candle_core::Tensor;
use ft_kernels::{Compute, Precision};
use ft_kernels::attention::{AttentionSpec, attention, attention_backward};
use ft_kernels::columns::{join_heads, split_heads};
use ft_kernels::linear::{Dropout, Linear, Lora, LoraGradient};
use ft_kernels::residual::{add_scaled, scaled};
use ft_kernels::rope::{Direction, RopeTables, rope};
use ft_kernels::rows::sum_rows;

use crate::arch::{Architecture, QkNorm};
use crate::error::Result;
use crate::layers::{LayerWeights, NormWeights};
use crate::lora::LoraPair;
use crate::projection::{Projection, Site};
use crate::trained::{Biases, NormSite};

/// An adapter on one projection of this block.
pub struct Adapted<'a> {
    pub projection: Projection,
    /// The place of its `A` among the adapter's trained tensors; those after it follow.
    pub first: usize,
    pub pair: &'a LoraPair,
    pub dropout: Option<Dropout>,
}

/// What is the same for every block of a micro-batch.
pub struct Rows<'a> {
    /// Where each sequence starts, and the number of tokens last.
    pub starts: &'a [usize],
    /// The rotations, for each of the architecture's rotary embeddings.
    pub ropes: Vec<RopeTables>,
}

/// One block with its frozen weights and adapters.
pub struct Block<'a> {
    pub compute: Compute,
    pub arch: &'a Architecture,
    /// Its number.
    pub layer: usize,
    pub weights: &'a LayerWeights,
    pub adapters: Vec<Adapted<'a>>,
    /// The biases that are trained.
    pub biases: &'a Biases,
    pub rows: &'a Rows<'a>,
}

/// What backward needs of a forward.
pub struct Kept {
    /// `[tokens, (heads + 2·kv_heads)·head_dim]`: turned, or, where heads are normalised first, as the product left it
    qkv: Tensor,
    /// `[tokens, heads·head_dim]`
    attended: Tensor,
    /// `[tokens, heads]`, the logarithm of each softmax's denominator
    lse: Tensor,
    /// `[tokens, hidden]`, the attention's output before its norm, where it has one
    projected: Option<Tensor>,
    /// `[tokens, hidden]`, between attention and MLP
    middle: Tensor,
    mlp: KeptMlp,
    /// `[tokens, hidden]`, the MLP's output before its norm, where it has one
    down: Option<Tensor>,
}

/// The gradient of one trained tensor from one sequence.
pub struct Found {
    /// The tensor's place among the adapter's trained ones.
    pub trainable: usize,
    pub gradient: Tensor,
}

/// Takes gradients, for each trained tensor in the order of the sequences.
pub type Sink<'s> = dyn FnMut(Found) -> Result<()> + 's;

/// The number of bytes that [`Kept`] takes for one token, in the layer where it takes most.
pub fn kept_bytes_per_token(arch: &Architecture, precision: Precision) -> usize {
    let names = arch.names();
    let norms = usize::from(names.attention_norm.is_some()) + usize::from(names.output_norm.is_some());
    let mlp = (0..arch.num_layers).map(|layer| mlp::kept_columns(arch, layer)).max().unwrap_or(0);
    let activations = arch.qkv_columns() + arch.query_columns() + mlp + (1 + norms) * arch.hidden_size;
    // Beside them a logarithm for each head, which is f32 whatever they are.
    activations * precision.activation_bytes() + arch.num_heads * size_of::<f32>()
}

impl Block<'_> {
    /// `x` is `[tokens, hidden]`; what backward needs of the forward, and what [`Self::output`] needs.
    ///
    /// # Errors
    /// If an operator fails.
    pub fn inner(&self, x: &Tensor) -> Result<Kept> {
        let (w, starts) = (self.weights, self.rows.starts);
        let normed = self.normed(w.input_norm.as_ref(), x)?;
        let qkv = self.linear(Site::Qkv).forward(self.compute, &normed, starts, None)?;
        drop(normed);
        let qkv = self.by_kind(qkv)?;
        let turned = self.turned(&qkv)?;
        let (attended, lse) = attention(self.compute, &turned, &self.spec(), starts)?;
        // Without a norm of heads nothing but the turned ones is needed again.
        let qkv = if self.arch.qk_norm == QkNorm::None { turned } else { qkv };
        let linear = self.linear(Site::O);
        let (middle, projected) = self.add(x, w.attention_norm.as_ref(), |residual| {
            Ok(linear.forward(self.compute, &attended, starts, residual)?)
        })?;
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
        let Kept { qkv, attended, lse, projected, middle, mlp, down } = kept;
        let ddown = self.branch_gradient(NormSite::Output, w.output_norm.as_ref(), dy, down.as_ref(), sink)?;
        drop(down);
        // What the MLP read: in a parallel block that is the block's own input.
        let read = if self.arch.parallel { x } else { &middle };
        let dnormed = self.mlp_backward(ddown, mlp, || self.normed(w.mlp_norm.as_ref(), read), sink)?;
        let dread = self.norm_gradient(NormSite::Mlp, w.mlp_norm.as_ref(), &dnormed, read, dy, sink)?;
        drop((dnormed, middle));
        // Either way `dread` holds what goes around the MLP; in a parallel block it goes around the attention too.
        let dmiddle = if self.arch.parallel { dy } else { &dread };
        let dprojected =
            self.branch_gradient(NormSite::Attention, w.attention_norm.as_ref(), dmiddle, projected.as_ref(), sink)?;
        let dattended = self.site_backward(Site::O, &dprojected, &attended, sink)?;
        drop((dprojected, projected));
        let turned = if self.arch.qk_norm == QkNorm::None { qkv.clone() } else { self.turned(&qkv)? };
        let dturned = attention_backward(self.compute, &dattended, &turned, &attended, &lse, &self.spec(), self.rows.starts)?;
        drop((dattended, attended, turned));
        let dqkv = self.turned_back(dturned, &qkv)?;
        drop(qkv);
        let normed = self.normed(w.input_norm.as_ref(), x)?;
        let want_norm = self.biases.norms.iter().any(|(_, site)| *site == NormSite::Input);
        let dnormed = self.product_backward(Site::Qkv, &dqkv, &normed, want_x || want_norm, sink)?;
        drop((dqkv, normed));
        let Some(dnormed) = dnormed else { return Ok(None) };
        let dx = self.norm_gradient(NormSite::Input, w.input_norm.as_ref(), &dnormed, x, &dread, sink)?;
        Ok(want_x.then_some(dx))
    }

    /// The layer's attention.
    pub(crate) fn spec(&self) -> AttentionSpec {
        attention_spec(self.arch, self.layer)
    }

    /// `x` through a norm, if there is one.
    pub(crate) fn normed(&self, norm: Option<&NormWeights>, x: &Tensor) -> Result<Tensor> {
        norm.map_or_else(|| Ok(x.clone()), |norm| norm.forward(self.compute, self.arch, x))
    }

    /// Adds a branch to the residual stream `x`, through a norm if there is one. `branch` computes it, and adds `x`
    /// itself where it is handed over. Also returns the branch before its norm.
    pub(crate) fn add(
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

    /// The gradient of a branch before its norm, from that of the residual stream after it.
    fn branch_gradient(
        &self,
        site: NormSite,
        norm: Option<&NormWeights>,
        dy: &Tensor,
        branch: Option<&Tensor>,
        sink: &mut Sink<'_>,
    ) -> Result<Tensor> {
        let scale = self.arch.residual_scale as f32;
        let dy = if scale.total_cmp(&1.0).is_eq() { dy.clone() } else { scaled(self.compute, dy.copy()?, scale)? };
        match (norm, branch) {
            (Some(norm), Some(branch)) => {
                self.norm_bias(site, &dy, sink)?;
                norm.backward(self.compute, self.arch, &dy, branch, None)
            }
            _ => Ok(dy),
        }
    }

    /// The gradient of what a branch read, from that of its norm's result, plus what goes around the branch.
    fn norm_gradient(
        &self,
        site: NormSite,
        norm: Option<&NormWeights>,
        dnormed: &Tensor,
        x: &Tensor,
        around: &Tensor,
        sink: &mut Sink<'_>,
    ) -> Result<Tensor> {
        let Some(norm) = norm else { return Ok((dnormed + around)?) };
        self.norm_bias(site, dnormed, sink)?;
        norm.backward(self.compute, self.arch, dnormed, x, Some(around))
    }

    /// Hands the gradient of a norm's bias over, where that is trained.
    fn norm_bias(&self, site: NormSite, dy: &Tensor, sink: &mut Sink<'_>) -> Result<()> {
        for (place, _) in self.biases.norms.iter().filter(|(_, of)| *of == site) {
            for gradient in sum_rows(self.compute, dy, self.rows.starts)? {
                sink(Found { trainable: *place, gradient })?;
            }
        }
        Ok(())
    }

    /// From what the product gives, all queries, then all keys, then all values.
    pub(crate) fn by_kind(&self, qkv: Tensor) -> Result<Tensor> {
        let arch = self.arch;
        Ok(if arch.family.is_by_head() { split_heads(self.compute, &qkv, arch.num_heads, arch.head_dim)? } else { qkv })
    }

    /// Queries and keys normalised and turned by their positions. Where heads have no norm this happens in the memory
    /// of `qkv`.
    pub(crate) fn turned(&self, qkv: &Tensor) -> Result<Tensor> {
        let arch = self.arch;
        let mut turned = qkv.clone();
        if let Some([q, k]) = &self.weights.qk_norm {
            turned = turned.copy()?;
            for (w, column, columns) in [(q, 0, arch.query_columns()), (k, arch.query_columns(), arch.key_columns())] {
                turned = w.forward_heads(self.compute, arch, turned, column, columns)?;
            }
        }
        self.rotate(turned, Direction::Forward)
    }

    /// The gradient of the product's result from that of [`Self::turned`].
    fn turned_back(&self, dturned: Tensor, qkv: &Tensor) -> Result<Tensor> {
        let arch = self.arch;
        let mut d = self.rotate(dturned, Direction::Backward)?;
        if let Some([q, k]) = &self.weights.qk_norm {
            for (w, column, columns) in [(q, 0, arch.query_columns()), (k, arch.query_columns(), arch.key_columns())] {
                d = w.backward_heads(self.compute, arch, d, qkv, column, columns)?;
            }
        }
        Ok(if arch.family.is_by_head() { join_heads(self.compute, &d, arch.num_heads, arch.head_dim)? } else { d })
    }

    /// Turns the heads of queries and keys, the first ones of the fused product, if this layer does.
    fn rotate(&self, qkv: Tensor, direction: Direction) -> Result<Tensor> {
        let Some(which) = self.arch.layers[self.layer].rope else { return Ok(qkv) };
        let heads = self.arch.num_heads + self.arch.num_kv_heads;
        Ok(rope(self.compute, qkv, &self.rows.ropes[which], heads, self.arch.head_dim, direction)?)
    }

    /// [`Self::product_backward`] where the input's gradient is needed.
    fn site_backward(&self, site: Site, dy: &Tensor, x: &Tensor, sink: &mut Sink<'_>) -> Result<Tensor> {
        wanted(self.product_backward(site, dy, x, true, sink)?)
    }

    fn product_backward(
        &self,
        site: Site,
        dy: &Tensor,
        x: &Tensor,
        want_x: bool,
        sink: &mut Sink<'_>,
    ) -> Result<Option<Tensor>> {
        let places: Vec<usize> = self.adapters_of(site).map(|a| a.first).collect();
        let gradients = self.linear(site).backward(self.compute, dy, x, self.rows.starts, want_x)?;
        hand_over(gradients.lora, &places, sink)?;
        self.product_bias(site, dy, sink)?;
        Ok(gradients.x)
    }

    /// Hands the gradients of a product's trained biases over.
    fn product_bias(&self, site: Site, dy: &Tensor, sink: &mut Sink<'_>) -> Result<()> {
        let trained: Vec<_> = self.biases.products.iter().filter(|(_, of, _, _)| *of == site).collect();
        if trained.is_empty() {
            return Ok(());
        }
        for sums in sum_rows(self.compute, dy, self.rows.starts)? {
            for (place, _, column, columns) in &trained {
                sink(Found { trainable: *place, gradient: sums.narrow(0, *column, *columns)?.copy()? })?;
            }
        }
        Ok(())
    }

    fn adapters_of(&self, site: Site) -> impl Iterator<Item = &Adapted<'_>> {
        self.adapters.iter().filter(move |a| a.projection.site == site)
    }

    pub(crate) fn linear(&self, site: Site) -> Linear<'_> {
        let product = self.weights.product(site);
        let lora = self
            .adapters_of(site)
            .map(|adapted| Lora {
                a: &adapted.pair.a,
                b: &adapted.pair.b,
                magnitude: adapted.pair.magnitude.as_ref(),
                scaling: adapted.pair.scaling as f32,
                column: adapted.projection.column(self.arch, self.layer),
                dropout: adapted.dropout.clone(),
            })
            .collect();
        Linear { weight: &product.weight, bias: product.bias.as_ref(), lora }
    }
}

/// The gradient of a product's input, which was asked for.
fn wanted(dx: Option<Tensor>) -> Result<Tensor> {
    dx.ok_or_else(|| candle_core::Error::Msg("the gradient of a product's input is missing".into()).into())
}

/// Hands a product's gradients over; `places` are those of its adapters' first trained tensors.
fn hand_over(gradients: Vec<LoraGradient>, places: &[usize], sink: &mut Sink<'_>) -> Result<()> {
    for LoraGradient { adapter, a, b, magnitude, .. } in gradients {
        for (i, gradient) in [Some(a), Some(b), magnitude].into_iter().flatten().enumerate() {
            sink(Found { trainable: places[adapter] + i, gradient })?;
        }
    }
    Ok(())
}

/// The attention of a layer of this architecture.
pub fn attention_spec(arch: &Architecture, layer: usize) -> AttentionSpec {
    let divisor = if arch.scales_by_layer { (layer + 1) as f64 } else { 1.0 };
    AttentionSpec {
        num_heads: arch.num_heads,
        num_kv_heads: arch.num_kv_heads,
        head_dim: arch.head_dim,
        scale: (arch.attention_scale / divisor) as f32,
        sliding_window: arch.layers[layer].sliding_window,
        softcap: arch.attention_softcap.map(|cap| cap as f32),
    }
}
