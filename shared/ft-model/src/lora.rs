//! Low-rank adapters (Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021), in memory
//! and in peft's files.
//!
//! An adapted linear layer computes `x·Wᵀ + scaling · (x·Aᵀ)·Bᵀ`; merged, its weight is
//! `W + scaling · B·A`. With DoRA each row of that has a trained length; beside the pairs, biases and whole modules
//! of the base may be trained.

mod apart;
mod config;
mod fitted;
mod found;
mod init;
mod parameters;
pub mod pissa;
pub(crate) mod placed;
mod principal;
mod read;
mod saved;
mod shapes;
mod targets;
mod vocabulary;
mod write;

pub use config::{Layers, LoraConfig};
pub use shapes::TrainedShape;
pub use targets::Targets;
pub use vocabulary::{End, EndPair, Low, OnEnd, PairGradients, add_by_token};

use candle_core::Tensor;
use ft_kernels::tensor::with_slice;

use crate::arch::Architecture;
use crate::error::{Error, Result};
use crate::projection::Projection;

/// The adapter of one linear layer, or of all experts' matrices of a kind: see [`Projection::pair_shapes`].
#[derive(Debug, Clone)]
pub struct LoraPair {
    /// Such as `model.layers.0.self_attn.q_proj`.
    pub module: String,
    /// peft's name of it, which is another where it adapts a parameter.
    pub key: String,
    /// `[r, in]`, f32.
    pub a: Tensor,
    /// `[out, r]`, f32.
    pub b: Tensor,
    /// The factor of `B·A`.
    pub scaling: f64,
    /// DoRA's length of each row of the weight, `[out]`, f32.
    pub magnitude: Option<Tensor>,
}

/// A tensor of the base that is trained and saved whole: a bias, or the weight of a module of
/// `modules_to_save`.
#[derive(Debug, Clone)]
pub struct SavedTensor {
    /// Its name in the base's checkpoint, such as `lm_head.weight`.
    pub name: String,
    /// peft's name, which for the bias of an adapted module says where that has been wrapped.
    pub key: String,
    /// f32, in the shape of the base's.
    pub tensor: Tensor,
}

/// An adapter of a whole model.
#[derive(Debug, Clone)]
pub struct Adapter {
    pub config: LoraConfig,
    /// By layer, then in the order of the layer's modules.
    pub modules: Vec<LoraPair>,
    /// On embedding and head, in this order.
    pub ends: Vec<EndPair>,
    /// What is trained beside the pairs, by name.
    pub saved: Vec<SavedTensor>,
}

/// What a trained tensor is, which decides its learning rate and its decay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `A` of a module.
    A,
    /// `B` of a module.
    B,
    /// DoRA's magnitudes.
    Magnitude,
    /// `A` of an embedding.
    EmbeddingA,
    /// `B` of an embedding.
    EmbeddingB,
    /// A tensor of the base that is trained whole.
    Saved,
}

/// A trained tensor of an adapter.
#[derive(Debug, Clone, Copy)]
pub struct Trainable<'a> {
    /// The module, or for a saved tensor peft's name of it.
    pub of: &'a str,
    /// peft's name of either.
    key: &'a str,
    pub kind: Kind,
    pub tensor: &'a Tensor,
}

impl Kind {
    /// The name in peft's file of the tensor of what peft calls `key`.
    fn name(self, key: &str) -> String {
        match self {
            Kind::A => write::key(key, "lora_A.weight"),
            Kind::B => write::key(key, "lora_B.weight"),
            Kind::Magnitude => write::key(key, "lora_magnitude_vector"),
            Kind::EmbeddingA => write::key(key, "lora_embedding_A"),
            Kind::EmbeddingB => write::key(key, "lora_embedding_B"),
            Kind::Saved => format!("{}{key}", write::PREFIX),
        }
    }
}

impl Trainable<'_> {
    /// Its name in peft's file.
    pub fn name(&self) -> String {
        self.kind.name(self.key)
    }
}

impl LoraPair {
    /// How many trained tensors it has: `A` and `B`, and DoRA's magnitudes.
    pub fn trained(&self) -> usize {
        2 + usize::from(self.magnitude.is_some())
    }

    fn trainable(&self) -> impl Iterator<Item = Trainable<'_>> {
        let of = |kind, tensor| Trainable { of: &self.module, key: &self.key, kind, tensor };
        let magnitude = self.magnitude.as_ref().map(|tensor| of(Kind::Magnitude, tensor));
        [Some(of(Kind::A, &self.a)), Some(of(Kind::B, &self.b)), magnitude].into_iter().flatten()
    }
}

impl Adapter {
    /// The trained tensors, module by module `A`, `B` and the magnitudes, those of the layers first, then the saved ones.
    /// Gradients and the optimizer's states have this order.
    pub fn trainable(&self) -> impl Iterator<Item = Trainable<'_>> {
        let saved =
            self.saved.iter().map(|s| Trainable { of: &s.key, key: &s.key, kind: Kind::Saved, tensor: &s.tensor });
        let ends = self.ends.iter().flat_map(EndPair::trainable);
        self.modules.iter().flat_map(LoraPair::trainable).chain(ends).chain(saved)
    }

    /// The number of trained parameters.
    pub fn parameters(&self) -> usize {
        self.trainable().map(|t| t.tensor.elem_count()).sum()
    }

    /// SHA-256 over all names and values, as 64 hexadecimal digits: two adapters that agree in it are the
    /// same, however they were stored.
    ///
    /// # Errors
    /// If a tensor is not contiguous f32 on the CPU.
    pub fn sha256(&self) -> Result<String> {
        let mut hash = ft_io::Sha256::new();
        let mut bytes = Vec::new();
        for trained in self.trainable() {
            hash.update(trained.name());
            bytes.clear();
            with_slice(trained.tensor, |values| bytes.extend(values.iter().flat_map(|x| x.to_le_bytes())))?;
            hash.update(&bytes);
        }
        Ok(hash.finish())
    }

    /// Whether the adapter fits a model: every module that its configuration names is there with the
    /// right shapes, and no other.
    ///
    /// # Errors
    /// [`Error::Adapter`] naming the tensor, the shape that the model asks for and the one found.
    pub fn check(&self, arch: &Architecture) -> Result<()> {
        let config = self.config.for_model(arch)?;
        for pair in &self.modules {
            let found = Projection::parse_in(arch.family, &pair.module).filter(|(layer, _)| *layer < arch.num_layers);
            let found = found.filter(|(layer, p)| Projection::of_layer(arch, *layer).contains(p));
            let found = found.filter(|(layer, p)| p.module(arch, *layer) == pair.module);
            let (layer, projection) = found.ok_or_else(|| {
                let layers = arch.num_layers.saturating_sub(1);
                Error::Adapter(format!(
                    "has the module '{}', which the model has not: its layers are 0 to {layers}",
                    pair.module
                ))
            })?;
            let [a, b] = projection.pair_shapes(arch, layer, config.rank(&pair.module)?);
            expect_shape(pair, "lora_A.weight", &pair.a, a)?;
            expect_shape(pair, "lora_B.weight", &pair.b, b)?;
            if let Some(magnitude) = &pair.magnitude {
                expect_shape(pair, "lora_magnitude_vector", magnitude, [b[0]])?;
            }
        }
        self.check_ends(arch)?;
        self.check_saved(arch)?;
        if config.target_modules.is_some() || !config.target_parameters()?.is_empty() {
            self.check_complete(arch, &self.config.modules(arch)?)?;
        }
        Ok(())
    }

    /// Whether the modules are those that the configuration names.
    fn check_complete(&self, arch: &Architecture, targets: &[(usize, Projection)]) -> Result<()> {
        let has = |module: &str| self.modules.iter().any(|pair| pair.module == module);
        if let Some((layer, p)) = targets.iter().find(|(layer, p)| !has(&p.module(arch, *layer))) {
            let module = p.module(arch, *layer);
            return Err(Error::Adapter(format!("has no tensor for '{module}', which its target_modules name")));
        }
        let named = |module: &str| targets.iter().any(|(layer, p)| p.module(arch, *layer) == module);
        match self.modules.iter().find(|pair| !named(&pair.module)) {
            Some(pair) => {
                Err(Error::Adapter(format!("has tensors for '{}', which its target_modules do not name", pair.module)))
            }
            None => Ok(()),
        }
    }

    /// Refuses an adapter without modules, or with empty or unfinished tensors.
    fn check_values(&self) -> Result<()> {
        if self.modules.is_empty() && self.ends.is_empty() {
            return Err(Error::Adapter("holds no tensors".into()));
        }
        for trained in self.trainable() {
            let (name, tensor) = (trained.name(), trained.tensor);
            if tensor.elem_count() == 0 {
                let shape = tensor.dims();
                return Err(Error::Adapter(format!("has the empty tensor '{name}' of shape {shape:?}")));
            }
            if let Some(value) = with_slice(tensor, |values| values.iter().copied().find(|x| !x.is_finite()))? {
                return Err(Error::Adapter(format!("has {value} in the tensor '{name}', expected finite numbers")));
            }
        }
        Ok(())
    }
}

fn expect_shape<const N: usize>(pair: &LoraPair, kind: &str, tensor: &Tensor, expected: [usize; N]) -> Result<()> {
    if tensor.dims() == expected {
        return Ok(());
    }
    Err(Error::Adapter(format!(
        "does not fit the model: the tensor '{}' has the shape {:?}, expected {expected:?}",
        write::key(&pair.key, kind),
        tensor.dims()
    )))
}

#[cfg(test)]
mod tests;
