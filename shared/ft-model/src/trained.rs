//! The trained tensors by what they belong to, and a layer's weights with its trained biases in place of the frozen ones.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use crate::arch::Architecture;
use crate::error::Result;
use crate::layers::{LayerWeights, LinearWeights, Weight};
use crate::lora::{Adapter, End, LoraPair, OnEnd};
use crate::projection::{Projection, Site};
use crate::trainable::{PairIds, TrainableId};

/// A trained tensor of the base.
#[derive(Debug, Clone, Copy)]
pub struct Saved<'a> {
    pub id: TrainableId,
    pub tensor: &'a Tensor,
}

impl Adapter {
    /// The trained tensor that takes the place of the base's `name`.
    pub fn saved(&self, name: &str) -> Option<Saved<'_>> {
        let (index, id) = self.trainables().saved(name)?;
        Some(Saved { id, tensor: &self.saved_tensors().get(index)?.tensor })
    }

    /// The pairs on the projections of a layer, in the order in which the adapter lists them.
    pub fn on_layer(&self, layer: usize) -> impl Iterator<Item = (Projection, PairIds, &LoraPair)> {
        let on = self.trainables().on_layer(layer).iter();
        on.filter_map(|(projection, place)| Some((*projection, place.ids, self.modules().get(place.index)?)))
    }

    /// The pair on embedding or head.
    pub fn on_end(&self, arch: &Architecture, end: End) -> Option<OnEnd<'_>> {
        let place = self.trainables().on_end(end.module(arch.family))?;
        Some(OnEnd { ids: place.ids, pair: self.ends().get(place.index)? })
    }
}

/// The four norms of the residual stream that a layer may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormSite {
    Input,
    Attention,
    Mlp,
    Output,
}

/// A trained bias of a product, or a part of it.
#[derive(Debug, Clone, Copy)]
pub struct ProductBias {
    pub id: TrainableId,
    pub site: Site,
    /// Its first column in the product, and their number.
    pub column: usize,
    pub columns: usize,
}

/// The trained biases of a layer.
#[derive(Debug, Default)]
pub struct Biases {
    pub products: Vec<ProductBias>,
    /// Of norms; where two sites share a norm its tensor stands here for each of them.
    pub norms: Vec<(TrainableId, NormSite)>,
}

impl Biases {
    /// Whether none is trained.
    pub fn is_empty(&self) -> bool {
        self.products.is_empty() && self.norms.is_empty()
    }
}

/// The weights of layer `layer` with the adapter's trained biases in place of the frozen ones, and where those are.
///
/// # Errors
/// If candle refuses the shapes.
pub fn with_biases(
    arch: &Architecture,
    layer: usize,
    weights: Arc<LayerWeights>,
    adapter: Option<&Adapter>,
) -> Result<(Arc<LayerWeights>, Biases)> {
    let mut biases = Biases::default();
    let Some(adapter) = adapter.filter(|a| !a.saved_tensors().is_empty()) else { return Ok((weights, biases)) };
    let mut own = (*weights).clone();
    let names = arch.names();
    for (site, product) in [
        (Site::Qkv, &mut own.qkv),
        (Site::O, &mut own.o),
        (Site::GateUp, &mut own.gate_up),
        (Site::Down, &mut own.down),
    ] {
        replace_bias(arch, layer, site, product, adapter, &mut biases)?;
    }
    let norms = [
        (NormSite::Input, names.input_norm, &mut own.input_norm),
        (NormSite::Attention, names.attention_norm, &mut own.attention_norm),
        (NormSite::Mlp, names.mlp_norm, &mut own.mlp_norm),
        (NormSite::Output, names.output_norm, &mut own.output_norm),
    ];
    for (site, name, norm) in norms {
        let (Some(name), Some(norm)) = (name, norm) else { continue };
        if let Some(saved) = adapter.saved(&names.in_layer(layer, &format!("{name}.bias"))) {
            *norm = norm.with_bias(saved.tensor);
            biases.norms.push((saved.id, site));
        }
    }
    Ok(if biases.is_empty() { (weights, biases) } else { (Arc::new(own), biases) })
}

/// Puts the trained parts of a product's bias in their columns.
fn replace_bias(
    arch: &Architecture,
    layer: usize,
    site: Site,
    product: &mut LinearWeights<Weight>,
    adapter: &Adapter,
    biases: &mut Biases,
) -> Result<()> {
    let Some(frozen) = product.bias.clone() else { return Ok(()) };
    let (mut parts, known) = (Vec::new(), biases.products.len());
    for projection in Projection::of_layer(arch, layer).into_iter().filter(|p| p.site() == site) {
        let (column, columns) = (projection.column(arch, layer), projection.shape(arch, layer).0);
        match adapter.saved(&format!("{}.bias", projection.module(arch, layer))) {
            Some(saved) => {
                biases.products.push(ProductBias { id: saved.id, site, column, columns });
                parts.push(saved.tensor.clone());
            }
            None => parts.push(frozen.narrow(0, column, columns)?),
        }
    }
    if biases.products.len() > known {
        product.bias = Some(Tensor::cat(&parts, 0)?.to_dtype(DType::F32)?);
    }
    Ok(())
}
