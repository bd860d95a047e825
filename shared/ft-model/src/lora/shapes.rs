//! What an adapter trains, by its configuration alone.

use super::config::LoraConfig;
use super::keys::TrainedKind;
use crate::arch::{Architecture, Expected};
use crate::error::{Error, Result};

/// A tensor that is trained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainedShape {
    /// The module, or for a saved tensor peft's name of it.
    pub of: String,
    /// Its name in peft's file.
    pub name: String,
    pub shape: Vec<usize>,
}

impl TrainedShape {
    fn new(of: &str, key: &str, kind: TrainedKind, shape: &[usize]) -> Self {
        Self { of: of.into(), name: kind.name(key), shape: shape.to_vec() }
    }

    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().fold(1, |n, size| n.saturating_mul(*size))
    }
}

impl LoraConfig {
    /// Refuses an adapter that this machine's memory cannot hold, before any of it is asked for.
    ///
    /// # Errors
    /// [`Error::Adapter`] with what it would take and what there is.
    pub fn check_size(&self, arch: &Architecture) -> Result<()> {
        let elements = self.trained_shapes(arch)?.iter().fold(0u64, |n, one| n.saturating_add(one.elements() as u64));
        // Each with its gradient.
        let (bytes, there) = (elements.saturating_mul(8), ft_kernels::memory::available_bytes().unwrap_or(u64::MAX));
        if bytes <= there {
            return Ok(());
        }
        Err(Error::Adapter(format!(
            "has {elements} parameters at rank {}, which take {:.1} GB with their gradients, but {:.1} GB are free; take a lower rank or fewer modules",
            self.r,
            bytes as f64 / 1e9,
            there as f64 / 1e9
        )))
    }

    /// What [`super::Adapter::trainable`] of a new adapter gives, in its order, without making one.
    ///
    /// # Errors
    /// If the configuration asks for what is not implemented, or does not fit the model.
    pub fn trained_shapes(&self, arch: &Architecture) -> Result<Vec<TrainedShape>> {
        self.check()?;
        let config = self.for_model(arch)?;
        let mut all = Vec::new();
        for (layer, projection) in config.modules(arch)? {
            let module = projection.module(arch, layer);
            let key = config.key_of(&module);
            let [a, b] = projection.pair_shapes(arch, layer, config.rank(&module)?);
            all.push(TrainedShape::new(&module, &key, TrainedKind::A, &a));
            all.push(TrainedShape::new(&module, &key, TrainedKind::B, &b));
            if config.use_dora() {
                all.push(TrainedShape::new(&module, &key, TrainedKind::Magnitude, &b[..1]));
            }
        }
        for end in config.ends(arch)? {
            let module = end.module(arch.family);
            for (kind, shape) in end.kinds().into_iter().zip(end.shapes(arch, config.rank(module)?)) {
                all.push(TrainedShape::new(module, module, kind, &shape));
            }
        }
        let mut saved = config.saved(arch)?;
        saved.sort_by(|x, y| x.name.cmp(&y.name));
        for Expected { name, shape } in saved {
            let key = config.saved_key(arch, &name);
            all.push(TrainedShape::new(&key, &key, TrainedKind::Saved, &shape));
        }
        Ok(all)
    }
}
