//! All weights in memory, the host's or a device's.

use std::sync::Arc;

use candle_core::{DType, Device};

use super::load::{ends, layer, vocabulary};
use super::source::LayerSource;
use super::weights::{Ends, LayerWeights, Vocabulary};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::projection::Site;
use ft_kernels::linear::Weight;

/// The whole model in memory, read once.
#[derive(Debug)]
pub struct Resident {
    layers: Vec<Arc<LayerWeights>>,
    vocabulary: Vocabulary,
    ends: Ends,
}

impl Resident {
    /// Reads all weights, the matrices as `dtype` (f32, bf16 or f16); `progress` is called with the number
    /// of layers read so far. Nothing but the weights stays in memory.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn load(checkpoint: &Checkpoint, dtype: DType, progress: impl Fn(usize)) -> Result<Self> {
        Self::load_on(&Device::Cpu, checkpoint, dtype, progress)
    }

    /// [`Self::load`] into the memory of a device; the host holds one layer at a time.
    ///
    /// # Errors
    /// As [`Self::load`], or if the device has no room.
    pub fn load_on(device: &Device, checkpoint: &Checkpoint, dtype: DType, progress: impl Fn(usize)) -> Result<Self> {
        let vocabulary = vocabulary(checkpoint, Some(dtype))?.to_device(device)?;
        let ends = ends(checkpoint)?.to_device(device)?;
        let mut layers = Vec::new();
        for i in 0..checkpoint.architecture().num_layers {
            layers.push(Arc::new(layer(checkpoint, i, dtype)?.to_device(device)?));
            progress(i + 1);
        }
        Ok(Self { layers, vocabulary, ends })
    }

    /// The weights given as they are, for models that come from no file.
    pub(super) fn new(layers: Vec<LayerWeights>, vocabulary: Vocabulary, ends: Ends) -> Self {
        Self { layers: layers.into_iter().map(Arc::new).collect(), vocabulary, ends }
    }
}

impl LayerSource for Resident {
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
        let matrices = |layer: &LayerWeights| Site::ALL.map(|site| layer.product(site).weight.bytes());
        let layers = self.layers.iter().map(|layer| layer.small_bytes() + matrices(layer).iter().sum::<u64>());
        layers.sum::<u64>() + self.vocabulary.bytes() + self.ends.bytes()
    }
}
