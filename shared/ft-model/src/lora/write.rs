//! Adapters to peft's folder, or to one file for a pipe.

use std::collections::BTreeMap;
use std::path::Path;

use ::safetensors::Dtype;
use candle_core::Tensor;
use ft_kernels::tensor::with_slice;

use super::adapter::Adapter;
use super::read::{CONFIG, CONFIG_KEY, WEIGHTS};
use crate::error::{Error, Result};
use crate::safetensors::Header;

impl Adapter {
    /// Writes `adapter_config.json` and `adapter_model.safetensors` into `dir`, which is made where it is
    /// missing, and reads them back. The same adapter and metadata give the same bytes.
    ///
    /// # Errors
    /// If the adapter is empty or not finite, a file cannot be written, or what is read back differs.
    pub fn save(&self, dir: &Path, metadata: &BTreeMap<String, String>) -> Result<()> {
        let weights = self.file(metadata.clone())?;
        let config = self.config.to_json()?;
        std::fs::create_dir_all(dir).map_err(|e| Error::write(dir, e))?;
        for (name, bytes) in [(CONFIG, config.as_bytes()), (WEIGHTS, &weights)] {
            let path = dir.join(name);
            std::fs::write(&path, bytes).map_err(|e| Error::write(&path, e))?;
        }
        let path = dir.join(WEIGHTS);
        if std::fs::read(&path).map_err(|e| Error::read(&path, e))? != weights {
            return Err(Error::malformed(path, "read back after writing, it holds other bytes; is the disk broken?"));
        }
        let names = |adapter: &Adapter| adapter.trainable().map(|t| t.name()).collect::<Vec<_>>();
        if names(&Self::load(dir)?) != names(self) {
            return Err(Error::malformed(path, "read back after writing, it holds other tensors"));
        }
        Ok(())
    }

    /// One safetensors file that carries the configuration as JSON in its metadata under
    /// `adapter_config`.
    ///
    /// # Errors
    /// If the adapter is empty or not finite.
    pub fn to_bytes(&self, metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
        let mut metadata = metadata.clone();
        metadata.insert(CONFIG_KEY.into(), self.config.to_json()?);
        let bytes = self.file(metadata)?;
        Self::from_bytes("the adapter just made", &bytes)?;
        Ok(bytes)
    }

    fn file(&self, mut metadata: BTreeMap<String, String>) -> Result<Vec<u8>> {
        self.config.check()?;
        self.check_values()?;
        metadata.entry("format".into()).or_insert_with(|| "pt".into());
        let mut tensors: Vec<(String, &Tensor)> = self.trainable().map(|t| (t.name(), t.tensor)).collect();
        tensors.sort_by(|x, y| x.0.cmp(&y.0));
        let shapes: Vec<_> =
            tensors.iter().map(|(name, tensor)| (name.clone(), Dtype::F32, tensor.dims().to_vec())).collect();
        let (header, mut bytes) = Header::build(&shapes, &metadata);
        bytes.reserve_exact(header.entries.iter().map(|entry| entry.len as usize).sum());
        for (_, tensor) in tensors {
            with_slice(tensor, |values| bytes.extend(values.iter().flat_map(|x| x.to_le_bytes())))?;
        }
        Ok(bytes)
    }
}
