//! Opening a model, of whichever kind of file.

use std::collections::HashSet;
use std::path::Path;

use super::{Checkpoint, folder, gguf};
use crate::error::{Error, Result};

impl Checkpoint {
    /// Opens the model at `path`: a folder with `config.json` and safetensors (one file, or shards with
    /// their index; also quantised by bitsandbytes), or a GGUF file.
    ///
    /// # Errors
    /// If a file is missing or not whole, the architecture is not known, or a tensor is missing or has
    /// another shape.
    pub fn open(path: &Path) -> Result<Self> {
        let mut this = if path.is_dir() { folder::open(path)? } else { gguf::open(path)? };
        this.tie()?;
        this.check()?;
        Ok(this)
    }

    /// Fails unless the file holds exactly the architecture's tensors.
    fn check(&self) -> Result<()> {
        let expected = self.arch.tensors();
        for tensor in &expected {
            let stored = self.stored(&tensor.name)?;
            if stored.shape() != tensor.shape {
                return Err(Error::TensorShape {
                    path: stored.path().to_path_buf(),
                    tensor: tensor.name.clone(),
                    expected: tensor.shape.clone(),
                    found: stored.shape().to_vec(),
                });
            }
        }
        let known: HashSet<_> = expected.iter().map(|t| t.name.as_str()).collect();
        let extra = self.tensors.keys().filter(|name| !known.contains(name.as_str()));
        // The first by name, so that the message does not change from run to run.
        match extra.min() {
            None => Ok(()),
            Some(name) => Err(Error::UnexpectedTensor {
                path: self.path.clone(),
                tensor: name.clone(),
                architecture: self.arch.family.class().into(),
            }),
        }
    }
}
