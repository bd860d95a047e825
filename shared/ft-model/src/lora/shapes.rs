//! What an adapter trains, by its configuration alone.

use super::{Kind, LoraConfig};
use crate::arch::{Architecture, Expected};
use crate::error::Result;

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
    fn new(of: &str, kind: Kind, shape: Vec<usize>) -> Self {
        Self { of: of.into(), name: kind.name(of), shape }
    }

    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

impl LoraConfig {
    /// What [`super::Adapter::trainable`] of a new adapter gives, in its order, without making one.
    ///
    /// # Errors
    /// If the configuration asks for what is not implemented, or does not fit the model.
    pub fn trained_shapes(&self, arch: &Architecture) -> Result<Vec<TrainedShape>> {
        self.check()?;
        let mut all = Vec::new();
        for (layer, projection) in self.modules(arch)? {
            let (module, (out, inner)) = (projection.module(arch, layer), projection.shape(arch));
            let rank = self.rank(&module);
            all.push(TrainedShape::new(&module, Kind::A, vec![rank, inner]));
            all.push(TrainedShape::new(&module, Kind::B, vec![out, rank]));
            if self.use_dora() {
                all.push(TrainedShape::new(&module, Kind::Magnitude, vec![out]));
            }
        }
        for end in self.ends(arch)? {
            let module = end.module(arch.family);
            for (kind, shape) in end.kinds().into_iter().zip(end.shapes(arch, self.rank(module))) {
                all.push(TrainedShape::new(module, kind, shape.to_vec()));
            }
        }
        let mut saved = self.saved(arch)?;
        saved.sort_by(|x, y| x.name.cmp(&y.name));
        for Expected { name, shape } in saved {
            all.push(TrainedShape::new(&self.saved_key(arch, &name), Kind::Saved, shape));
        }
        Ok(all)
    }
}
