//! Weights that come from no file: random ones, for measuring what a model of some shape costs.

use candle_core::{DType, Device, Tensor};
use ft_kernels::philox::Stream;
use rayon::prelude::*;

use super::resident::Resident;
use super::weights::{Ends, Layer, LayerWeights, LinearWeights, NormWeights, Vocabulary};
use crate::arch::Architecture;
use crate::error::Result;
use crate::projection::Site;
use ft_kernels::linear::Weight;

/// The random streams of these weights.
const PURPOSE: u32 = 0x300;
/// The largest magnitude of an element.
const BOUND: f32 = 0.03;
/// Elements that a thread draws at a time.
const PIECE: usize = 1 << 16;

/// Where tensors are made, and the number of the next one's stream.
struct Maker<'a> {
    device: &'a Device,
    dtype: DType,
    seed: u64,
    next: u64,
}

impl Resident {
    /// A model of the architecture's shape with random matrices of type `dtype`, norms of 1 and biases of 0.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn random(device: &Device, arch: &Architecture, dtype: DType, seed: u64) -> Result<Self> {
        let mut maker = Maker { device, dtype, seed, next: 0 };
        let vocabulary = maker.vocabulary(arch)?;
        let ends = maker.ends(arch)?;
        let layers = (0..arch.num_layers).map(|i| maker.layer(arch, i)).collect::<Result<_>>()?;
        Ok(Self::new(layers, vocabulary, ends))
    }
}

impl Maker<'_> {
    fn matrix(&mut self, rows: usize, columns: usize) -> Result<Tensor> {
        let stream = Stream::new(self.seed, PURPOSE, self.next);
        self.next += 1;
        let mut values = vec![0.0; rows * columns];
        values.par_chunks_mut(PIECE).enumerate().for_each(|(i, part)| {
            stream.fill_uniform((i * PIECE) as u64, part);
            part.iter_mut().for_each(|x| *x = (*x * 2.0 - 1.0) * BOUND);
        });
        Ok(Tensor::from_vec(values, (rows, columns), &Device::Cpu)?.to_dtype(self.dtype)?.to_device(self.device)?)
    }

    fn norm(&self, arch: &Architecture, name: Option<&str>) -> Result<Option<NormWeights>> {
        let constant = |value: f32| Tensor::full(value, arch.hidden_size, self.device);
        Ok(match name {
            None => None,
            Some(_) => Some(NormWeights {
                weight: constant(1.0)?,
                bias: arch.norm.has_bias().then(|| constant(0.0)).transpose()?,
            }),
        })
    }

    fn product(&mut self, arch: &Architecture, layer: usize, site: Site) -> Result<LinearWeights<Weight>> {
        let (out, inner) = site.shape(arch, layer);
        let bias = arch.has_bias(site).then(|| Tensor::zeros(out, DType::F32, self.device)).transpose()?;
        Ok(LinearWeights { weight: self.matrix(out, inner)?.into(), bias })
    }

    fn layer(&mut self, arch: &Architecture, layer: usize) -> Result<LayerWeights> {
        let names = arch.names();
        let ones = |(parts, width): &(Vec<String>, usize)| -> Result<NormWeights> {
            let weight = Tensor::ones(parts.len() * width, DType::F32, self.device)?;
            let bias = arch.qk_norm_has_bias().then(|| weight.zeros_like()).transpose()?;
            Ok(NormWeights { weight, bias })
        };
        let qk_norm = match &arch.qk_norms()[..] {
            [q, k] => Some([ones(q)?, ones(k)?]),
            _ => None,
        };
        let activation = (!arch.activation_numbers().is_empty()).then_some(arch.activation);
        Ok(Layer {
            input_norm: self.norm(arch, names.input_norm)?,
            attention_norm: self.norm(arch, names.attention_norm)?,
            mlp_norm: self.norm(arch, names.mlp_norm)?,
            output_norm: self.norm(arch, names.output_norm)?,
            qk_norm,
            activation,
            qkv: self.product(arch, layer, Site::Qkv)?,
            o: self.product(arch, layer, Site::O)?,
            gate_up: self.product(arch, layer, Site::GateUp)?,
            down: self.product(arch, layer, Site::Down)?,
        })
    }

    fn vocabulary(&mut self, arch: &Architecture) -> Result<Vocabulary> {
        let mut table = || self.matrix(arch.vocab_size, arch.hidden_size).map(Weight::Float);
        let embedding = table()?;
        let head = if arch.tie_word_embeddings { embedding.clone() } else { table()? };
        Ok(Vocabulary { embedding, head })
    }

    fn ends(&mut self, arch: &Architecture) -> Result<Ends> {
        let positions = match arch.learned_positions {
            Some(rows) => Some(self.matrix(rows, arch.hidden_size)?.to_dtype(DType::F32)?),
            None => None,
        };
        let constant = |value: f32| Tensor::full(value, arch.hidden_size, self.device);
        let final_norm =
            NormWeights { weight: constant(1.0)?, bias: arch.norm.has_bias().then(|| constant(0.0)).transpose()? };
        let head_bias = arch.head_bias.then(|| Tensor::zeros(arch.vocab_size, DType::F32, self.device)).transpose()?;
        Ok(Ends { positions, final_norm, head_bias })
    }
}
