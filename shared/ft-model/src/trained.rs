//! Which tensors of one layer are trained, and the layer's weights with those in place of the frozen ones.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use crate::arch::Architecture;
use crate::error::Result;
use crate::layers::{LayerWeights, Product};
use crate::lora::{Adapter, EndPair, LoraPair};
use crate::projection::{Projection, Site};

/// A trained tensor of the base and its place among the adapter's trained ones.
#[derive(Debug, Clone, Copy)]
pub struct Saved<'a> {
    pub place: usize,
    pub tensor: &'a Tensor,
}

impl Adapter {
    /// The trained tensor that takes the place of the base's `name`.
    pub fn saved(&self, name: &str) -> Option<Saved<'_>> {
        let index = self.saved.iter().position(|saved| saved.name == name)?;
        let pairs = self.modules.iter().map(LoraPair::trained).sum::<usize>() + EndPair::TRAINED * self.ends.len();
        let place = pairs + index;
        Some(Saved { place, tensor: &self.saved[index].tensor })
    }

    /// The pairs on the projections of a layer, each with the place of its `A` among the trained tensors.
    pub fn on_layer(&self, arch: &Architecture, layer: usize) -> Vec<(usize, Projection, &LoraPair)> {
        let (prefix, all) = (arch.names().in_layer(layer, ""), Projection::of_layer(arch, layer));
        let (mut next, mut found) = (0, Vec::new());
        for pair in &self.modules {
            let place = next;
            next += pair.trained();
            let path = pair.module.strip_prefix(&prefix);
            if let Some(projection) = path.and_then(|path| all.iter().find(|p| p.path(arch, layer) == path)) {
                found.push((place, *projection, pair));
            }
        }
        found
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

/// The trained biases of a layer.
#[derive(Debug, Default)]
pub struct Biases {
    /// For each: its place among the trained tensors, its product, its first column there and their number.
    pub products: Vec<(usize, Site, usize, usize)>,
    /// For each: its place, and its norm.
    pub norms: Vec<(usize, NormSite)>,
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
    let Some(adapter) = adapter.filter(|a| !a.saved.is_empty()) else { return Ok((weights, biases)) };
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
            biases.norms.push((saved.place, site));
        }
    }
    Ok(if biases.is_empty() { (weights, biases) } else { (Arc::new(own), biases) })
}

/// Puts the trained parts of a product's bias in their columns.
fn replace_bias(
    arch: &Architecture,
    layer: usize,
    site: Site,
    product: &mut Product<Tensor>,
    adapter: &Adapter,
    biases: &mut Biases,
) -> Result<()> {
    let Some(frozen) = product.bias.clone() else { return Ok(()) };
    let (mut parts, known) = (Vec::new(), biases.products.len());
    for projection in Projection::of_layer(arch, layer).into_iter().filter(|p| p.site == site) {
        let (column, out) = (projection.column(arch, layer), projection.shape(arch, layer).0);
        match adapter.saved(&format!("{}.bias", projection.module(arch, layer))) {
            Some(saved) => {
                biases.products.push((saved.place, site, column, out));
                parts.push(saved.tensor.clone());
            }
            None => parts.push(frozen.narrow(0, column, out)?),
        }
    }
    if biases.products.len() > known {
        product.bias = Some(Tensor::cat(&parts, 0)?.to_dtype(DType::F32)?);
    }
    Ok(())
}
