//! Weights that stay in their file: each layer is read when it is asked for.

use std::sync::Arc;

use candle_core::DType;

use super::load::{ends, layer, vocabulary};
use super::source::LayerSource;
use super::weights::{Ends, LayerWeights, Vocabulary};
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use ft_kernels::linear::Weight;

/// Reads block `i` at each call, so that one block is in memory at a time. Embedding, final norm and
/// head stay in memory: every micro-batch needs them at both of its ends. What the system's page cache
/// has room for is not read from the disk again.
#[derive(Debug)]
pub struct Mapped {
    checkpoint: Checkpoint,
    dtype: DType,
    vocabulary: Vocabulary,
    ends: Ends,
}

impl Mapped {
    /// Takes the checkpoint and reads what is beside its blocks; matrices come as `dtype` (f32, bf16 or
    /// f16).
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn open(checkpoint: Checkpoint, dtype: DType) -> Result<Self> {
        let (vocabulary, ends) = (vocabulary(&checkpoint, Some(dtype))?, ends(&checkpoint)?);
        Ok(Self { checkpoint, dtype, vocabulary, ends })
    }
}

impl LayerSource for Mapped {
    fn layer(&self, i: usize) -> Result<Arc<LayerWeights>> {
        Ok(Arc::new(layer(&self.checkpoint, i, self.dtype)?))
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

    fn forms_layers_anew(&self) -> bool {
        true
    }

    fn held_bytes(&self) -> u64 {
        self.vocabulary.bytes() + self.ends.bytes()
    }
}
