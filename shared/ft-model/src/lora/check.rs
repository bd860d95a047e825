//! Whether an adapter fits a model.

use candle_core::Tensor;
use ft_kernels::tensor::with_slice;

use super::adapter::{Adapter, LoraPair};
use super::keys::key;
use crate::arch::Architecture;
use crate::error::{Error, Result};
use crate::projection::Projection;

impl Adapter {
    /// Whether the adapter fits a model: every module that its configuration names is there with the
    /// right shapes, and no other.
    ///
    /// # Errors
    /// [`Error::Adapter`] naming the tensor, the shape that the model asks for and the one found; or if it was saved
    /// without conversion, see [`Adapter::on_whole_base`].
    pub fn check(&self, arch: &Architecture) -> Result<()> {
        self.config.check()?;
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
    pub(super) fn check_values(&self) -> Result<()> {
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
        key(&pair.key, kind),
        tensor.dims()
    )))
}
