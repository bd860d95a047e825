//! A block: its weights, its adapters, and the rows that go through it.

use candle_core::Tensor;
use ft_kernels::Compute;
use ft_kernels::linear::{Dropout, Linear, Lora};
use ft_kernels::rope::RopeTables;

use crate::arch::{Activation, Architecture};
use crate::error::Result;
use crate::layers::{LayerWeights, NormWeights};
use crate::lora::LoraPair;
use crate::projection::{Projection, Site};
use crate::spans::{of_site, timed};
use crate::trainable::PairIds;
use crate::trained::Biases;

/// An adapter on one projection of this block.
pub struct Adapted<'a> {
    pub projection: Projection,
    pub ids: PairIds,
    pub pair: &'a LoraPair,
    pub dropout: Option<Dropout>,
}

/// How a block's products are computed: many rows pack the weights, few read them where they lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Products {
    Many,
    /// Rows that are not learned from, as a step of generation has them; the adapters' dropout is left out.
    Few,
}

/// What is the same for every block of a micro-batch.
pub struct Rows<'a> {
    /// Where each sequence starts, and the number of tokens last.
    pub starts: &'a [usize],
    /// The number of the first sequence in the optimizer step.
    pub first_sequence: usize,
    /// The rotations, for each of the architecture's rotary embeddings.
    pub ropes: Vec<RopeTables>,
    /// What the queries of each row are multiplied by, where they grow with their positions.
    pub query_factors: Option<Vec<f32>>,
    pub products: Products,
}

/// One block with its frozen weights and adapters.
pub struct Block<'a> {
    /// Which operators compute, and in what.
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

impl Block<'_> {
    /// The block's adapters on the projections of a site.
    pub(super) fn adapters_of(&self, site: Site) -> impl Iterator<Item = &Adapted<'_>> {
        self.adapters.iter().filter(move |adapted| adapted.projection.site() == site)
    }

    /// A site's product with its adapters.
    pub(super) fn linear(&self, site: Site) -> Linear<'_> {
        let product = self.weights.product(site);
        let lora = self.adapters_of(site).map(|adapted| Lora {
            a: &adapted.pair.a,
            b: &adapted.pair.b,
            magnitude: adapted.pair.magnitude.as_ref(),
            scaling: adapted.pair.scaling as f32,
            column: adapted.projection.column(self.arch, self.layer),
            dropout: adapted.dropout.clone(),
        });
        Linear { weight: product.weight.clone(), bias: product.bias.as_ref(), lora: lora.collect() }
    }

    /// A product of rows in which sequences start at `starts`, with `residual` added where it is handed over.
    pub(super) fn product(
        &self,
        linear: &Linear<'_>,
        x: &Tensor,
        starts: &[usize],
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        Ok(match self.rows.products {
            Products::Many => linear.forward(self.compute, x, starts, residual)?,
            Products::Few => linear.forward_few(self.compute, x, residual)?,
        })
    }

    /// The product of a site, of all rows.
    pub(super) fn site(&self, site: Site, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        let _timed = of_site(site);
        self.product(&self.linear(site), x, self.rows.starts, residual)
    }

    /// The MLP's activation in this block.
    pub(super) fn activation(&self) -> Activation {
        self.weights.activation.unwrap_or(self.arch.activation)
    }

    /// `x` through a norm, if there is one.
    pub(super) fn normed(&self, norm: Option<&NormWeights>, x: &Tensor) -> Result<Tensor> {
        let _timed = timed!("norm");
        norm.map_or_else(|| Ok(x.clone()), |norm| norm.forward(self.compute, self.arch, x))
    }
}
