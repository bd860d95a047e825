//! Adapters from peft's folder, or from one file with the configuration inside.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ::safetensors::Dtype;
use candle_core::Tensor;
use ft_kernels::tensor::from_vec;
use half::{bf16, f16};

use super::adapter::Adapter;
use super::apart;
use super::config::LoraConfig;
use super::found::FoundTensors;
use crate::error::{Error, Result};
use crate::safetensors::{Entry, Header};

/// The configuration's file.
pub(super) const CONFIG: &str = "adapter_config.json";
/// The weights' file.
pub(super) const WEIGHTS: &str = "adapter_model.safetensors";
/// Where a single file keeps the configuration.
pub(super) const CONFIG_KEY: &str = "adapter_config";

impl Adapter {
    /// Reads peft's folder, or a single safetensors file whose metadata hold the configuration or that
    /// has an `adapter_config.json` beside it.
    ///
    /// # Errors
    /// If a file is missing or not whole, a tensor is missing, empty or not finite, or the configuration
    /// asks for what is not implemented.
    pub fn load(path: &Path) -> Result<Self> {
        let weights = if path.is_dir() { path.join(WEIGHTS) } else { path.to_path_buf() };
        if path.is_dir() && !weights.exists() {
            return Err(Error::malformed(path, no_adapter(path)));
        }
        let bytes = std::fs::read(&weights).map_err(|e| Error::read(&weights, e))?;
        let header = Header::from_bytes(&bytes).map_err(|reason| Error::malformed(&weights, reason))?;
        let beside = weights.with_file_name(CONFIG);
        let (text, origin) = match header.metadata.get(CONFIG_KEY) {
            // In a folder its own file counts, which people edit.
            Some(text) if !path.is_dir() => (text.clone().into_bytes(), weights.clone()),
            None if !beside.exists() => return Err(no_config(&weights)),
            _ => (std::fs::read(&beside).map_err(|e| Error::read(&beside, e))?, beside),
        };
        let config = parse(&text).map_err(|e| e.within(&origin))?;
        Self::assemble(config, &header, &bytes).map_err(|e| e.within(&weights))
    }

    /// Reads a single safetensors file that is in memory already; `name` is for messages.
    ///
    /// # Errors
    /// As [`Adapter::load`].
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self> {
        let path = PathBuf::from(name);
        let header = Header::from_bytes(bytes).map_err(|reason| Error::malformed(&path, reason))?;
        let text = header.metadata.get(CONFIG_KEY).ok_or_else(|| no_config(&path))?;
        let config = parse(text.as_bytes()).map_err(|e| e.within(&path))?;
        Self::assemble(config, &header, bytes).map_err(|e| e.within(&path))
    }

    /// The metadata of an adapter's safetensors file; without the file's own configuration.
    ///
    /// # Errors
    /// If the file cannot be read or is no safetensors.
    pub fn metadata(path: &Path) -> Result<BTreeMap<String, String>> {
        let weights = if path.is_dir() { path.join(WEIGHTS) } else { path.to_path_buf() };
        let bytes = std::fs::read(&weights).map_err(|e| Error::read(&weights, e))?;
        Self::metadata_of(&weights.to_string_lossy(), &bytes)
    }

    /// The same of a file that is in memory already; `name` is for messages.
    ///
    /// # Errors
    /// If it is no safetensors.
    pub fn metadata_of(name: &str, bytes: &[u8]) -> Result<BTreeMap<String, String>> {
        let header = Header::from_bytes(bytes).map_err(|reason| Error::malformed(Path::new(name), reason))?;
        let mut metadata = header.metadata;
        metadata.remove(CONFIG_KEY);
        Ok(metadata)
    }

    fn assemble(mut config: LoraConfig, header: &Header, bytes: &[u8]) -> Result<Self> {
        let tensor = |entry: &Entry| widen(entry, &bytes[entry.offset as usize..][..entry.len as usize]);
        let mut found = FoundTensors::default();
        let (old, new): (Vec<&Entry>, Vec<&Entry>) =
            header.entries.iter().partition(|entry| apart::is_apart(&entry.name));
        let old = old.into_iter().map(|entry| Ok((entry.name.clone(), tensor(entry)?)));
        for (name, tensor) in apart::together(&mut config, old.collect::<Result<_>>()?)? {
            found.take(&name, &config, || Ok(tensor))?;
        }
        for entry in new {
            found.take(&entry.name, &config, || tensor(entry))?;
        }
        let adapter = found.adapter(config)?;
        adapter.check_values()?;
        Ok(adapter)
    }
}

/// A matrix as f32.
fn widen(entry: &Entry, bytes: &[u8]) -> Result<Tensor> {
    let name = &entry.name;
    let values: Vec<f32> = match entry.dtype {
        Dtype::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F64 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
        Dtype::F16 => bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::BF16 => bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        other => {
            return Err(Error::Adapter(format!(
                "has the tensor '{name}' stored as {other}, expected F64, F32, BF16 or F16"
            )));
        }
    };
    let dimensions =
        if [".lora_A", ".lora_B", ".lora_embedding_"].iter().any(|part| name.contains(part)) { 2..=2 } else { 1..=2 };
    if !dimensions.contains(&entry.shape.len()) {
        let (shape, most) = (&entry.shape, dimensions.end());
        return Err(Error::Adapter(format!("has the tensor '{name}' of shape {shape:?}, expected {most} dimensions")));
    }
    Ok(from_vec(values, entry.shape.as_slice())?)
}

fn no_config(file: &Path) -> Error {
    let reason = format!("its metadata have no '{CONFIG_KEY}', and there is no {CONFIG} beside it");
    Error::malformed(file, reason)
}

fn parse(text: &[u8]) -> Result<LoraConfig> {
    let config: LoraConfig = serde_json::from_slice(text)
        .map_err(|e| Error::Adapter(format!("has a configuration that cannot be read: {e}")))?;
    config.check_as_saved()?;
    Ok(config)
}

/// Why a folder is no adapter that can be read.
fn no_adapter(dir: &Path) -> String {
    if dir.join("adapter_model.bin").exists() {
        return "it holds adapter_model.bin, a pickle, which can run any code; convert it to safetensors".into();
    }
    if dir.join("config.json").exists() {
        return format!("it holds a model, not an adapter; expected {CONFIG} and {WEIGHTS}");
    }
    format!("it holds no adapter; expected {CONFIG} and {WEIGHTS}")
}
