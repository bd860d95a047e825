//! A model's files: what tensors they hold, and their values.

mod bnb;
mod bnb_parts;
mod element;
mod file;
mod folder;
mod gguf;
mod names;
mod open;
mod stored;
mod stored_run;
mod tied;

pub use element::Element;
pub use stored::{Format, Stored};

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};

use crate::arch::Architecture;
use crate::error::{Error, Result};

/// The name of a Hugging Face model's configuration.
pub const CONFIG_FILE: &str = "config.json";

/// An open model: a Hugging Face folder or a GGUF file. Opening reads headers only, and checks that every
/// tensor of the architecture is there with its shape.
///
/// Tensors have Hugging Face's names, shapes and order of rows, whatever the file has. Values are read
/// in pieces, straight to where they are wanted; nothing is mapped, so that the process's memory is what
/// it asked for and a file that shrinks meanwhile is an error, not a crash.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    arch: Architecture,
    tensors: HashMap<String, Stored>,
    files: Vec<PathBuf>,
    metadata: HashMap<String, String>,
}

impl Checkpoint {
    /// The path as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is a GGUF file.
    pub fn is_gguf(&self) -> bool {
        !self.path.is_dir()
    }

    /// What the model is made of.
    pub fn architecture(&self) -> &Architecture {
        &self.arch
    }

    /// The files that hold weights, in the order of their names.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Words about the file: a GGUF's scalar metadata as text, or a safetensors' `__metadata__`.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// The names of the architecture's tensors, in the order of the computation.
    pub fn names(&self) -> Vec<String> {
        self.arch.tensors().into_iter().map(|tensor| tensor.name).collect()
    }

    /// A tensor's shape.
    ///
    /// # Errors
    /// [`Error::MissingTensor`].
    pub fn shape(&self, name: &str) -> Result<&[usize]> {
        Ok(self.stored(name)?.shape())
    }

    /// The type in which a tensor is stored.
    ///
    /// # Errors
    /// [`Error::MissingTensor`].
    pub fn stored_dtype(&self, name: &str) -> Result<Format> {
        Ok(self.stored(name)?.format())
    }

    /// The type in which most of the model's matrices are stored: that of the embedding.
    ///
    /// # Errors
    /// [`Error::MissingTensor`].
    pub fn main_dtype(&self) -> Result<Format> {
        self.stored_dtype(&self.arch.embedding_name())
    }

    /// Where and how a tensor is stored, to read some of its rows.
    ///
    /// # Errors
    /// [`Error::MissingTensor`].
    pub fn stored(&self, name: &str) -> Result<&Stored> {
        self.tensors.get(name).ok_or_else(|| Error::MissingTensor {
            path: self.path.clone(),
            tensor: name.into(),
            expected: self.expected_shape(name),
        })
    }

    /// Reads a whole tensor into `out`, with all threads; f32 and narrower types are rounded once.
    ///
    /// # Errors
    /// If the tensor is missing, `out` has another number of elements, or the file cannot be read.
    pub fn read<T: Element>(&self, name: &str, out: &mut [T]) -> Result<()> {
        self.stored(name)?.read_all(out)
    }

    /// [`Checkpoint::read`] as f32.
    ///
    /// # Errors
    /// As [`Checkpoint::read`].
    pub fn read_f32(&self, name: &str, out: &mut [f32]) -> Result<()> {
        self.read(name, out)
    }

    /// A tensor on the CPU, as f32, bf16 or f16.
    ///
    /// # Errors
    /// As [`Checkpoint::read`], and for any other type.
    pub fn tensor(&self, name: &str, dtype: DType) -> Result<Tensor> {
        let shape = self.shape(name)?.to_vec();
        let len = shape.iter().product();
        Ok(match dtype {
            DType::F32 => Tensor::from_vec(self.vector(name, vec![0f32; len])?, shape, &Device::Cpu)?,
            DType::BF16 => Tensor::from_vec(self.vector(name, vec![bf16::ZERO; len])?, shape, &Device::Cpu)?,
            DType::F16 => Tensor::from_vec(self.vector(name, vec![f16::ZERO; len])?, shape, &Device::Cpu)?,
            other => return Err(Error::FrozenType(other)),
        })
    }

    fn vector<T: Element>(&self, name: &str, mut out: Vec<T>) -> Result<Vec<T>> {
        self.read(name, &mut out)?;
        Ok(out)
    }

    fn expected_shape(&self, name: &str) -> Vec<usize> {
        self.arch.tensors().into_iter().find(|t| t.name == name).map(|t| t.shape).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
