//! A read-only stream of layers.

use std::sync::Arc;

use candle_core::Device;
use ft_kernels::linear::Weight;

use super::weights::{Ends, LayerWeights};
use crate::error::Result;

/// What is asked of a source at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Embedding,
    /// A block, by its number.
    Layer(usize),
    Head,
}

/// A read-only stream of layers: whoever computes asks for layer `i` and gets it.
pub trait LayerSource: Send + Sync {
    /// The weights of block `i`.
    ///
    /// # Errors
    /// If they cannot be had.
    fn layer(&self, i: usize) -> Result<Arc<LayerWeights>>;

    /// The matrix that tokens are looked up in, `[vocabulary, hidden]`.
    ///
    /// # Errors
    /// If it cannot be had.
    fn embedding(&self) -> Result<Weight>;

    /// The matrix that makes logits, `[vocabulary, hidden]`.
    ///
    /// # Errors
    /// If it cannot be had.
    fn head(&self) -> Result<Weight>;

    /// What else stands before and after the blocks.
    fn ends(&self) -> &Ends;

    /// Where the weights are, and so where the model is computed.
    fn device(&self) -> &Device {
        self.ends().final_norm.weight.device()
    }

    /// Says what will be asked for next, in this order, so that it can be on its way in time.
    fn expect(&self, _pass: &[Unit]) {}

    /// Whether each call reads or gathers the weights anew: then it pays to go through the model with more tokens at a time.
    fn forms_layers_anew(&self) -> bool {
        false
    }

    /// Whether all ranks must ask together, for each has a part of every answer.
    fn is_collective(&self) -> bool {
        false
    }

    /// The bytes of frozen weights that lie in memory.
    fn held_bytes(&self) -> u64;

    /// The bytes that went between ranks so far, where the weights are shared among them.
    fn sharded_bytes(&self) -> Option<ShardedBytes> {
        None
    }
}

/// What weights that are shared among ranks cost, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShardedBytes {
    /// What this rank has sent to others so far.
    pub sent: u64,
    /// What has come together on it so far, its own part included.
    pub gathered: u64,
    /// The largest layer, or matrix of the vocabulary.
    pub largest_unit: u64,
}
