//! A model's shape, from whatever says it.

use std::path::Path;

use anyhow::{Context, Result, bail};
use candle_core::DType;
use ft_model::layers::{TableBytes, WeightFormat};
use ft_model::memory_plan::Frozen;
use ft_model::{Architecture, Checkpoint};
use serde_json::Value;

/// What a plan needs of a model.
pub struct Model {
    pub name: String,
    pub arch: Architecture,
    weights: Weights,
}

/// What says how many bytes matrices take that stay as they are.
enum Weights {
    /// The files' headers.
    Known(Box<Checkpoint>),
    /// The type that a `config.json` names, for embedding and head.
    Told(TableBytes),
}

impl Model {
    /// From a GGUF file's or safetensors' headers, or from a `config.json` alone.
    pub fn open(path: &Path) -> Result<Self> {
        let is_config = path.extension().is_some_and(|end| end == "json");
        let (arch, weights) = if is_config || (path.is_dir() && !has_weights(path)) {
            let file = if is_config { path.to_path_buf() } else { path.join("config.json") };
            let (arch, vocabulary) = of_config(&file)?;
            (arch, Weights::Told(vocabulary))
        } else {
            let checkpoint = Checkpoint::open(path)?;
            (checkpoint.architecture().clone(), Weights::Known(Box::new(checkpoint)))
        };
        if arch.raw.get("quantization_config").is_some_and(|config| !config.is_null()) {
            bail!("'{}' is quantised already, in a way that a plan does not know; plan its original", path.display());
        }
        Ok(Self { name: name(path), arch, weights })
    }

    /// The frozen weights where the layers' matrices are held so.
    pub fn frozen(&self, held: WeightFormat) -> Result<Frozen> {
        let frozen = match &self.weights {
            Weights::Known(checkpoint) => Frozen::of(checkpoint, held)?,
            Weights::Told(vocabulary) => Frozen::new(&self.arch, held, *vocabulary),
        };
        frozen.with_context(|| {
            format!("--load-in as-is takes what the file has, which the config.json of '{}' does not say; give the file or a type", self.name)
        })
    }
}

fn has_weights(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| entry.path()).any(|path| path.extension().is_some_and(|end| end == "safetensors"))
}

fn of_config(path: &Path) -> Result<(Architecture, TableBytes)> {
    let text = std::fs::read(path).with_context(|| format!("cannot read '{}'", path.display()))?;
    let config: Value = serde_json::from_slice(&text).with_context(|| format!("'{}' is no JSON", path.display()))?;
    let arch = Architecture::from_config(&config).with_context(|| format!("'{}'", path.display()))?;
    let stored = ["dtype", "torch_dtype"].iter().find_map(|key| config.get(key)?.as_str());
    let dtype = match stored {
        Some("bfloat16") => DType::BF16,
        Some("float16") => DType::F16,
        _ => DType::F32,
    };
    let vocabulary = TableBytes::float(&arch, dtype);
    Ok((arch, vocabulary))
}

/// The file's or the folder's; of a `config.json` its folder's.
fn name(path: &Path) -> String {
    let own = if path.file_name().is_some_and(|name| name == "config.json") { path.parent() } else { Some(path) };
    let own = own.filter(|path| path.file_name().is_some()).unwrap_or(path);
    let stem = if own.is_dir() { own.file_name() } else { own.file_stem() };
    stem.map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
