//! Weights in few bits in memory, which products read where they lie.

use std::sync::Arc;

use super::load::{ends, layer_of, vocabulary};
use super::matrices::joined_shape;
use super::packed::Packed;
use super::packed_matrix::PackedMatrix;
use super::source::LayerSource;
use super::weight_format::PackedFormat;
use super::weights::{Ends, LayerWeights, Vocabulary};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::projection::Site;
use ft_kernels::linear::Weight;

/// The blocks' matrices in few bits, each projection packed by itself; norms and biases in f32; and embedding and head
/// as the file has them, in its float type or in its own blocks. Their numbers appear where a product packs them, or in
/// registers; only of a matrix that its file holds transposed, in blocks, some rows are expanded at a time.
///
/// What bitsandbytes has quantised already is taken over as it is, whatever is asked for.
#[derive(Debug)]
pub struct Quantised {
    layers: Vec<Arc<LayerWeights>>,
    vocabulary: Vocabulary,
    ends: Ends,
}

impl Quantised {
    /// Reads all weights and packs the blocks' matrices, one after the other; `progress` is called with the number of
    /// layers read so far.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn load(checkpoint: &Checkpoint, bits: PackedFormat, progress: impl Fn(usize)) -> Result<Self> {
        let vocabulary = vocabulary(checkpoint, None)?;
        let ends = ends(checkpoint)?;
        let matrix = |names: &[String]| {
            let parts = names.iter().map(|name| Packed::read(checkpoint, name, bits)).collect::<Result<_>>()?;
            let shape = joined_shape(checkpoint, names)?;
            Ok(Weight::of_rows(Arc::new(PackedMatrix::new(parts, shape.get(1).copied().unwrap_or(1)))))
        };
        let mut layers = Vec::new();
        for i in 0..checkpoint.architecture().num_layers {
            layers.push(Arc::new(layer_of(checkpoint, i, &matrix)?));
            progress(i + 1);
        }
        Ok(Self { layers, vocabulary, ends })
    }

    /// The bytes that the packed matrices take, scales included.
    pub fn frozen_bytes(&self) -> usize {
        self.matrices().map(|matrix| matrix.bytes() as usize).sum()
    }

    /// The number of parameters in the packed matrices.
    pub fn frozen_parameters(&self) -> usize {
        self.shapes().map(|(rows, columns)| rows * columns).sum()
    }

    /// The bytes that embedding and head take; tied ones are there once.
    pub fn vocabulary_bytes(&self) -> u64 {
        self.vocabulary.bytes()
    }

    /// The bytes of the largest layer's matrices in f32, which a device computes with.
    pub fn layer_bytes(&self) -> usize {
        let bytes = |weight: &Weight| weight.dims2().map_or(0, |(rows, columns)| rows * columns * size_of::<f32>());
        let of_layer =
            |layer: &Arc<LayerWeights>| Site::ALL.map(|site| bytes(&layer.product(site).weight)).iter().sum();
        self.layers.iter().map(of_layer).max().unwrap_or(0)
    }

    /// The most bytes of a layer's matrices that a product on the CPU expands at a time: of those that it cannot read where
    /// they lie.
    pub fn expanded_bytes(&self) -> usize {
        self.matrices().map(Weight::expanded_bytes).max().unwrap_or(0)
    }

    fn matrices(&self) -> impl Iterator<Item = &Weight> {
        self.layers.iter().flat_map(|layer| Site::ALL.into_iter().map(|site| &layer.product(site).weight))
    }

    fn shapes(&self) -> impl Iterator<Item = (usize, usize)> {
        self.matrices().filter_map(|matrix| matrix.dims2().ok())
    }
}

impl LayerSource for Quantised {
    fn layer(&self, i: usize) -> Result<Arc<LayerWeights>> {
        self.layers.get(i).cloned().ok_or(Error::Layer { index: i, layers: self.layers.len() })
    }

    fn embedding(&self) -> Result<Weight> {
        Ok(self.vocabulary.embedding.clone())
    }

    fn head(&self) -> Result<Weight> {
        Ok(self.vocabulary.head.clone())
    }

    fn ends(&self) -> &Ends {
        &self.ends
    }

    fn held_bytes(&self) -> u64 {
        let small: u64 = self.layers.iter().map(|layer| layer.small_bytes()).sum();
        self.frozen_bytes() as u64 + small + self.vocabulary.bytes() + self.ends.bytes()
    }
}

#[cfg(test)]
mod tests;
