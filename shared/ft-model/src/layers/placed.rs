//! Weights where they are computed with: on the host, or on a device.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::source::{LayerSource, ShardedBytes, Unit};
use super::weights::{Ends, Layer, LayerWeights, LinearWeights, NormWeights, Vocabulary};
use crate::error::Result;
use ft_kernels::linear::Weight;

/// The layers of another source, copied to a device when they are asked for: what the host holds in few bits, reads
/// from its file, or gathers from all ranks is expanded, on the device where that has a kernel for it, and one layer at a time
/// is there. Final norm,
/// and, unless ranks share them, embedding and head stay there: in f32 where the host has them in a file's blocks, for
/// no product on a device reads these.
pub struct Placed {
    source: Box<dyn LayerSource>,
    device: Device,
    /// What products are made in there, where it is not the type of the weights.
    products: Option<DType>,
    vocabulary: Option<Vocabulary>,
    ends: Ends,
}

impl Placed {
    /// `source` on `device`; itself where it is there already.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn on(source: Box<dyn LayerSource>, device: &Device, products: Option<DType>) -> Result<Box<dyn LayerSource>> {
        if source.device().same_device(device) {
            return Ok(source);
        }
        let ends = source.ends().to_device(device)?;
        let vocabulary = if source.is_collective() {
            None
        } else {
            Some(Vocabulary { embedding: source.embedding()?, head: source.head()? }.to_device(device)?)
        };
        Ok(Box::new(Self { source, device: device.clone(), products, vocabulary, ends }))
    }
}

impl LayerSource for Placed {
    fn layer(&self, i: usize) -> Result<Arc<LayerWeights>> {
        let layer = self.source.layer(i)?;
        let here = layer.map(|weight: &Weight| Ok(weight.on(&self.device, self.products)?))?;
        Ok(Arc::new(here.to_device(&self.device)?))
    }

    fn embedding(&self) -> Result<Weight> {
        match &self.vocabulary {
            Some(vocabulary) => Ok(vocabulary.embedding.clone()),
            None => Ok(self.source.embedding()?.to_device(&self.device)?),
        }
    }

    fn head(&self) -> Result<Weight> {
        match &self.vocabulary {
            Some(vocabulary) => Ok(vocabulary.head.clone()),
            None => Ok(self.source.head()?.to_device(&self.device)?),
        }
    }

    fn ends(&self) -> &Ends {
        &self.ends
    }

    fn expect(&self, pass: &[Unit]) {
        self.source.expect(pass);
    }

    fn forms_layers_anew(&self) -> bool {
        self.source.forms_layers_anew()
    }

    fn is_collective(&self) -> bool {
        self.source.is_collective()
    }

    fn held_bytes(&self) -> u64 {
        self.source.held_bytes()
    }

    fn sharded_bytes(&self) -> Option<ShardedBytes> {
        self.source.sharded_bytes()
    }
}

fn optional(tensor: Option<&Tensor>, device: &Device) -> Result<Option<Tensor>> {
    Ok(tensor.map(|tensor| tensor.to_device(device)).transpose()?)
}

impl NormWeights {
    fn to_device(&self, device: &Device) -> Result<Self> {
        Ok(Self { weight: self.weight.to_device(device)?, bias: optional(self.bias.as_ref(), device)? })
    }
}

impl LayerWeights {
    /// The same weights on a device.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        let norm = |norm: &Option<NormWeights>| norm.as_ref().map(|norm| norm.to_device(device)).transpose();
        let product = |of: &LinearWeights<Weight>| -> Result<LinearWeights<Weight>> {
            Ok(LinearWeights { weight: of.weight.to_device(device)?, bias: optional(of.bias.as_ref(), device)? })
        };
        let qk_norm = match &self.qk_norm {
            Some([q, k]) => Some([q.to_device(device)?, k.to_device(device)?]),
            None => None,
        };
        Ok(Layer {
            input_norm: norm(&self.input_norm)?,
            attention_norm: norm(&self.attention_norm)?,
            mlp_norm: norm(&self.mlp_norm)?,
            output_norm: norm(&self.output_norm)?,
            qk_norm,
            activation: self.activation,
            qkv: product(&self.qkv)?,
            o: product(&self.o)?,
            gate_up: product(&self.gate_up)?,
            down: product(&self.down)?,
        })
    }
}

impl Vocabulary {
    /// The same on a device; a head that is tied to the embedding is so there too.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        let embedding = self.embedding.to_device(device)?;
        let tied = self.head.is(&self.embedding);
        Ok(Self { head: if tied { embedding.clone() } else { self.head.to_device(device)? }, embedding })
    }
}

impl Ends {
    /// The same on a device.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        Ok(Self {
            positions: optional(self.positions.as_ref(), device)?,
            final_norm: self.final_norm.to_device(device)?,
            head_bias: optional(self.head_bias.as_ref(), device)?,
        })
    }
}
