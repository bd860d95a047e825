//! Weights in few bits in memory: each layer is expanded when it is asked for.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use ft_kernels::quant::Kind;

use super::load::{ends, joined_shape, layer_of, vocabulary};
use super::packed::Packed;
use super::{Ends, Layer, LayerSource, LayerWeights, Table, Vocabulary};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::projection::Site;

/// How the matrices of the blocks are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bits {
    /// As Q8_0: a byte an element, and a scale in 16 bits for each 32.
    EightBit,
    /// Half a byte an element and a scale for each 64 ("QLoRA", section 3).
    FourBit {
        /// What the codes stand for.
        kind: Kind,
        /// Whether the scales are held in 8 bits.
        double: bool,
    },
    /// As the file has them: a GGUF's own blocks, bitsandbytes' codes, or floats.
    AsIs,
}

/// The blocks' matrices in few bits, each projection packed by itself; norms and biases in f32; and embedding and head
/// as the file has them, in its float type or in its own blocks.
///
/// What bitsandbytes has quantised already is taken over as it is, whatever is asked for.
#[derive(Debug)]
pub struct Quantised {
    layers: Vec<Layer<Matrix>>,
    vocabulary: Vocabulary,
    ends: Ends,
}

/// A product's projections, packed, to be laid below each other.
#[derive(Debug)]
struct Matrix {
    parts: Vec<Packed>,
    /// `[out, in]` of all together.
    shape: Vec<usize>,
}

impl Quantised {
    /// Reads all weights and packs the blocks' matrices, one after the other; `progress` is called with the number of
    /// layers read so far.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn load(checkpoint: &Checkpoint, bits: Bits, progress: impl Fn(usize)) -> Result<Self> {
        let vocabulary = vocabulary(checkpoint, None)?;
        let ends = ends(checkpoint)?;
        let matrix = |names: &[String]| {
            let parts = names.iter().map(|name| Packed::read(checkpoint, name, bits)).collect::<Result<_>>()?;
            Ok(Matrix { parts, shape: joined_shape(checkpoint, names)? })
        };
        let mut layers = Vec::new();
        for i in 0..checkpoint.architecture().num_layers {
            layers.push(layer_of(checkpoint, i, &matrix)?);
            progress(i + 1);
        }
        Ok(Self { layers, vocabulary, ends })
    }

    /// The bytes that the packed matrices take, scales included.
    pub fn frozen_bytes(&self) -> usize {
        self.matrices().flat_map(|matrix| &matrix.parts).map(Packed::bytes).sum()
    }

    /// The number of parameters in the packed matrices.
    pub fn frozen_parameters(&self) -> usize {
        self.matrices().map(Matrix::elements).sum()
    }

    /// The bytes that embedding and head take; tied ones are there once.
    pub fn vocabulary_bytes(&self) -> u64 {
        self.vocabulary.bytes()
    }

    /// The bytes that the largest layer's matrices take while they are expanded.
    pub fn layer_bytes(&self) -> usize {
        let elements = |layer| Self::of_layer(layer).map(Matrix::elements).sum::<usize>();
        4 * self.layers.iter().map(elements).max().unwrap_or(0)
    }

    fn matrices(&self) -> impl Iterator<Item = &Matrix> {
        self.layers.iter().flat_map(Self::of_layer)
    }

    fn of_layer(layer: &Layer<Matrix>) -> impl Iterator<Item = &Matrix> {
        Site::ALL.into_iter().map(|site| &layer.product(site).weight)
    }
}

impl LayerSource for Quantised {
    fn layer(&self, i: usize) -> Result<Arc<LayerWeights>> {
        let layer = self.layers.get(i).ok_or(Error::Layer { index: i, layers: self.layers.len() })?;
        Ok(Arc::new(layer.map(Matrix::expand)?))
    }

    fn embedding(&self) -> Result<Table> {
        Ok(self.vocabulary.embedding.clone())
    }

    fn head(&self) -> Result<Table> {
        Ok(self.vocabulary.head.clone())
    }

    fn ends(&self) -> &Ends {
        &self.ends
    }

    fn held_bytes(&self) -> u64 {
        let small: u64 = self.layers.iter().map(Layer::small_bytes).sum();
        self.frozen_bytes() as u64 + small + self.vocabulary.bytes() + self.ends.bytes()
    }
}

impl Matrix {
    fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// `[out, in]`, f32.
    fn expand(&self) -> Result<Tensor> {
        // Every element is written, or expanding fails and the buffer is dropped.
        let mut all = ft_kernels::tensor::uninit(self.elements());
        ft_kernels::memory::prefer_large_pages(&all);
        let mut rest = all.as_mut_slice();
        for part in &self.parts {
            let (out, after) = rest.split_at_mut(part.len());
            part.expand(out)?;
            rest = after;
        }
        Ok(Tensor::from_vec(all, self.shape.as_slice(), &Device::Cpu)?)
    }
}

#[cfg(test)]
mod tests;
