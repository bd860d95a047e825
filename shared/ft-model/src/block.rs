//! One decoder block, its forward and backward written out.
//!
//! What costs no matrix product to compute again (norms, gated activations) is never kept; what else
//! backward needs is [`Kept`], and may be dropped and computed again by a second forward.

use candle_core::Tensor;
use ft_kernels::activation::{Activation, gated, gated_backward_inplace};
use ft_kernels::attention::{AttentionSpec, attention, attention_backward};
use ft_kernels::linear::{Dropout, Linear, Lora, LoraGradient};
use ft_kernels::norm::{rms_norm, rms_norm_backward_add};
use ft_kernels::rope::{Direction, RopeTables, rope};

use crate::arch::Architecture;
use crate::error::Result;
use crate::layers::LayerWeights;
use crate::lora::LoraPair;
use crate::projection::{Projection, Site};

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
    pub rope: RopeTables,
}

/// One block with its frozen weights and adapters.
pub struct Block<'a> {
    pub arch: &'a Architecture,
    pub weights: &'a LayerWeights,
    pub adapters: Vec<Adapted<'a>>,
    pub rows: &'a Rows<'a>,
}

/// What backward needs of a forward.
pub struct Kept {
    /// `[tokens, (heads + 2·kv_heads)·head_dim]`, rotated
    qkv: Tensor,
    /// `[tokens, heads·head_dim]`
    attended: Tensor,
    /// `[tokens, heads]`, the logarithm of each softmax's denominator
    lse: Tensor,
    /// `[tokens, hidden]`, between attention and MLP
    middle: Tensor,
    /// `[tokens, 2·intermediate]`
    gate_up: Tensor,
}

/// The gradient of one trained tensor from one sequence.
pub struct Found {
    /// The tensor's place among the adapter's trained ones.
    pub trainable: usize,
    pub gradient: Tensor,
}

/// Takes gradients, for each trained tensor in the order of the sequences.
pub type Sink<'s> = dyn FnMut(Found) -> Result<()> + 's;

/// The number of bytes that [`Kept`] takes for one token.
pub fn kept_bytes_per_token(arch: &Architecture) -> usize {
    let q = arch.num_heads * arch.head_dim;
    let kv = arch.num_kv_heads * arch.head_dim;
    let floats = (q + 2 * kv) + q + arch.num_heads + arch.hidden_size + 2 * arch.intermediate_size;
    floats * size_of::<f32>()
}

impl Block<'_> {
    /// `x` is `[tokens, hidden]`; what backward needs of the forward, and what [`Self::output`] needs.
    ///
    /// # Errors
    /// If an operator fails.
    pub fn inner(&self, x: &Tensor) -> Result<Kept> {
        let (w, eps, starts) = (self.weights, self.arch.rms_norm_eps, self.rows.starts);
        let normed = rms_norm(x, &w.input_norm, eps)?;
        let qkv = self.linear(Site::Qkv).forward(&normed, starts, None)?;
        drop(normed);
        let qkv = self.rotate(qkv, Direction::Forward)?;
        let (attended, lse) = attention(&qkv, &self.spec(), starts)?;
        let middle = self.linear(Site::O).forward(&attended, starts, Some(x))?;
        let normed = rms_norm(&middle, &w.post_norm, eps)?;
        let gate_up = self.linear(Site::GateUp).forward(&normed, starts, None)?;
        Ok(Kept { qkv, attended, lse, middle, gate_up })
    }

    /// The block's output, `[tokens, hidden]`.
    ///
    /// # Errors
    /// If an operator fails.
    pub fn output(&self, kept: &Kept) -> Result<Tensor> {
        let h = gated(&kept.gate_up, Activation::Silu)?;
        Ok(self.linear(Site::Down).forward(&h, self.rows.starts, Some(&kept.middle))?)
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
        let (w, eps) = (self.weights, self.arch.rms_norm_eps);
        let Kept { qkv, attended, lse, middle, gate_up } = kept;
        let h = gated(&gate_up, Activation::Silu)?;
        let dh = self.site_backward(Site::Down, dy, &h, sink)?;
        drop(h);
        let dgate_up = gated_backward_inplace(&dh, gate_up, Activation::Silu)?;
        drop(dh);
        let normed = rms_norm(&middle, &w.post_norm, eps)?;
        let dnormed = self.site_backward(Site::GateUp, &dgate_up, &normed, sink)?;
        drop((dgate_up, normed));
        let dmiddle = rms_norm_backward_add(&dnormed, &middle, &w.post_norm, eps, dy)?;
        drop((dnormed, middle));
        let dattended = self.site_backward(Site::O, &dmiddle, &attended, sink)?;
        let drotated = attention_backward(&dattended, &qkv, &attended, &lse, &self.spec(), self.rows.starts)?;
        drop((dattended, attended, qkv));
        let dqkv = self.rotate(drotated, Direction::Backward)?;
        let normed = rms_norm(x, &w.input_norm, eps)?;
        let dnormed = self.product_backward(Site::Qkv, &dqkv, &normed, want_x, sink)?;
        drop(dqkv);
        Ok(dnormed.map(|dnormed| rms_norm_backward_add(&dnormed, x, &w.input_norm, eps, &dmiddle)).transpose()?)
    }

    /// Turns the heads of queries and keys, the first ones of the fused product.
    pub(crate) fn rotate(&self, qkv: Tensor, direction: Direction) -> Result<Tensor> {
        let heads = self.arch.num_heads + self.arch.num_kv_heads;
        Ok(rope(qkv, &self.rows.rope, heads, self.arch.head_dim, direction)?)
    }

    fn spec(&self) -> AttentionSpec {
        attention_spec(self.arch)
    }

    /// [`Self::product_backward`] where the input's gradient is needed.
    fn site_backward(&self, site: Site, dy: &Tensor, x: &Tensor, sink: &mut Sink<'_>) -> Result<Tensor> {
        let dx = self.product_backward(site, dy, x, true, sink)?;
        dx.ok_or_else(|| candle_core::Error::Msg("the gradient of a product's input is missing".into()).into())
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
        let gradients = self.linear(site).backward(dy, x, self.rows.starts, want_x)?;
        for LoraGradient { adapter, a, b, .. } in gradients.lora {
            let first = places[adapter];
            sink(Found { trainable: first, gradient: a })?;
            sink(Found { trainable: first + 1, gradient: b })?;
        }
        Ok(gradients.x)
    }

    fn adapters_of(&self, site: Site) -> impl Iterator<Item = &Adapted<'_>> {
        site.projections().iter().filter_map(|p| self.adapters.iter().find(|a| a.projection == *p))
    }

    pub(crate) fn linear(&self, site: Site) -> Linear<'_> {
        let w = self.weights;
        let (weight, bias) = match site {
            Site::Qkv => (&w.qkv, &w.qkv_bias),
            Site::O => (&w.o, &w.o_bias),
            Site::GateUp => (&w.gate_up, &w.gate_up_bias),
            Site::Down => (&w.down, &w.down_bias),
        };
        let lora = self
            .adapters_of(site)
            .map(|adapted| Lora {
                a: &adapted.pair.a,
                b: &adapted.pair.b,
                scaling: adapted.pair.scaling as f32,
                column: adapted.projection.column(self.arch),
                dropout: adapted.dropout.clone(),
                magnitude: None,
            })
            .collect();
        Linear { weight, bias: bias.as_ref(), lora }
    }
}

/// The attention of this architecture.
pub fn attention_spec(arch: &Architecture) -> AttentionSpec {
    AttentionSpec {
        num_heads: arch.num_heads,
        num_kv_heads: arch.num_kv_heads,
        head_dim: arch.head_dim,
        scale: 1.0 / (arch.head_dim as f32).sqrt(),
        sliding_window: None,
        softcap: None,
    }
}
