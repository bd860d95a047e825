//! Adapters from peft's folder, or from one file with the configuration inside.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ::safetensors::Dtype;
use candle_core::Tensor;
use ft_kernels::tensor::from_vec;
use half::{bf16, f16};

use super::parameters::is_of_experts;
use super::write::PREFIX;
use super::{Adapter, End, EndPair, LoraConfig, LoraPair, SavedTensor};
use crate::error::{Error, Result};
use crate::projection::Projection;
use crate::safetensors::{Entry, Header};

/// The configuration's file.
pub(super) const CONFIG: &str = "adapter_config.json";
/// The weights' file.
pub(super) const WEIGHTS: &str = "adapter_model.safetensors";
/// Where a single file keeps the configuration.
pub(super) const CONFIG_KEY: &str = "adapter_config";

/// The matrices of a module and its magnitudes, as they are found.
type Parts = [Option<Tensor>; 3];

/// What a tensor of the file is.
enum Role<'a> {
    /// Of the adapter of a module: `A`, `B` or the magnitudes.
    Part { place: (usize, Projection), module: String, key: &'a str, part: usize },
    /// Of the adapter of embedding or head: `A` or `B`.
    OfEnd { end: End, module: &'a str, part: usize },
    /// A tensor of the base that is trained whole, by its name there.
    Saved(String),
    /// A bias of a saved module once more: with `bias` all, peft also writes it under the names that it has in memory,
    /// as it is and as it was. And the frozen weight of an adapted embedding or head, which peft writes beside its pair.
    Again,
}

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

    fn assemble(config: LoraConfig, header: &Header, bytes: &[u8]) -> Result<Self> {
        let mut found: BTreeMap<(usize, Projection), (String, String, Parts)> = BTreeMap::new();
        let mut of_ends: BTreeMap<(End, &str), [Option<Tensor>; 2]> = BTreeMap::new();
        let mut saved = Vec::new();
        for entry in &header.entries {
            let name = &entry.name;
            let tensor = || widen(entry, &bytes[entry.offset as usize..][..entry.len as usize]);
            match role(name, &config)? {
                Role::Again => {}
                Role::Saved(of) => {
                    let key = name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
                    saved.push(SavedTensor { name: of, key, tensor: tensor()? });
                }
                Role::OfEnd { end, module, part } => {
                    if of_ends.entry((end, module)).or_default()[part].replace(tensor()?).is_some() {
                        return Err(Error::Adapter(format!("has the tensor '{name}' twice, under two names")));
                    }
                }
                Role::Part { place, module, key, part } => {
                    let (_, _, parts) =
                        found.entry(place).or_insert_with(|| (module, key.to_owned(), Parts::default()));
                    if parts[part].replace(tensor()?).is_some() {
                        return Err(Error::Adapter(format!("has the tensor '{name}' twice, under two names")));
                    }
                }
            }
        }
        let mut modules = Vec::with_capacity(found.len());
        for (module, key, [a, b, magnitude]) in found.into_values() {
            let lacks = |kind: &str| Error::Adapter(format!("has no tensor '{}'", super::write::key(&key, kind)));
            let (a, b) = (a.ok_or_else(|| lacks("lora_A.weight"))?, b.ok_or_else(|| lacks("lora_B.weight"))?);
            check_rank(&config, &module, &a, &b)?;
            if magnitude.is_some() != config.use_dora() {
                let (has, wants) = if magnitude.is_some() { ("a", "none") } else { ("no", "one") };
                return Err(Error::Adapter(format!(
                    "has {has} lora_magnitude_vector for '{module}', but its use_dora asks for {wants}"
                )));
            }
            let scaling = config.scaling(&module);
            modules.push(LoraPair { module, key, a, b, scaling, magnitude });
        }
        let mut ends = Vec::with_capacity(of_ends.len());
        for ((end, module), parts) in of_ends {
            let [Some(a), Some(b)] = parts else {
                let kind = end.kinds()[usize::from(parts[0].is_some())];
                return Err(EndPair::lacks(module, kind));
            };
            check_rank(&config, module, &a, &b)?;
            let scaling = config.scaling(module);
            ends.push(EndPair { end, module: module.to_owned(), a, b, scaling });
        }
        saved.sort_by(|x, y| x.name.cmp(&y.name));
        let adapter = Self { config, modules, ends, saved };
        adapter.check_values()?;
        Ok(adapter)
    }
}

/// The scale depends on the rank, so the file's must be the configuration's. Of experts each has one.
fn check_rank(config: &LoraConfig, module: &str, a: &Tensor, b: &Tensor) -> Result<()> {
    let expected = config.rank(module);
    let (found_a, found_b) = (a.dims()[0], b.dims()[1]);
    let of_experts = is_of_experts(module) && found_a == found_b && found_a.is_multiple_of(expected);
    if of_experts || (found_a, found_b) == (expected, expected) {
        return Ok(());
    }
    Err(Error::Adapter(format!(
        "has the rank {expected} for '{module}' by its configuration, but lora_A has {found_a} rows and lora_B {found_b} columns"
    )))
}

/// What a tensor is by its name. peft leaves the adapter's own name (`default`) out of the keys; some tools do not.
fn role<'a>(name: &'a str, config: &LoraConfig) -> Result<Role<'a>> {
    let unknown = || {
        Error::Adapter(format!(
            "has the tensor '{name}', which has no place here; expected {PREFIX}model.layers.N.MODULE.lora_A.weight or lora_B.weight"
        ))
    };
    let plain = name.strip_prefix(PREFIX).unwrap_or(name);
    if [".modules_to_save.bias", ".original_module.bias"].iter().any(|end| plain.ends_with(end)) {
        return Ok(Role::Again);
    }
    if plain.strip_suffix(".base_layer.weight").is_some_and(|module| End::parse(module).is_some()) {
        return Ok(Role::Again);
    }
    if let Some((end, module, part)) = of_end(plain) {
        return Ok(Role::OfEnd { end, module, part });
    }
    let Some((key, kind)) = plain.split_once(".lora_") else {
        // Whole tensors: `X.weight`, `X.bias`, and the bias of a module that peft has wrapped.
        let of = plain.replace(".base_layer.bias", ".bias").replace(".modules_to_save.default.", ".");
        let known = match of.rsplit_once('.') {
            Some((_, "bias")) => true,
            Some((module, "weight")) => !module.ends_with(".base_layer"),
            _ => false,
        };
        return if known { Ok(Role::Saved(of)) } else { Err(unknown()) };
    };
    let part = match kind.split('.').collect::<Vec<_>>()[..] {
        ["A", "weight"] | ["A", _, "weight"] => 0,
        ["B", "weight"] | ["B", _, "weight"] => 1,
        ["magnitude_vector"] | ["magnitude_vector", _] | ["magnitude_vector", _, "weight"] => 2,
        _ => return Err(unknown()),
    };
    let module = config.module_of(key);
    let place = Projection::parse(&module).ok_or_else(|| Error::Module(key.into()))?;
    Ok(Role::Part { place, module, key, part })
}

/// The module and the part of a tensor of the adapter of embedding or head.
fn of_end(plain: &str) -> Option<(End, &str, usize)> {
    let (module, kind) = plain.split_once(".lora_")?;
    let end = End::parse(module)?;
    let [first, second] = match end {
        End::Head => ["A", "B"],
        End::Embedding => ["embedding_A", "embedding_B"],
    };
    let (name, rest) = kind.split_once('.').unwrap_or((kind, ""));
    // A head's are modules with a weight, an embedding's parameters; either may bear the adapter's name.
    let known = match end {
        End::Head => rest == "weight" || rest.split_once('.').is_some_and(|(_, last)| last == "weight"),
        End::Embedding => !rest.contains('.'),
    };
    let part = [first, second].iter().position(|known| *known == name).filter(|_| known)?;
    Some((end, module, part))
}

/// A matrix as f32.
fn widen(entry: &Entry, bytes: &[u8]) -> Result<Tensor> {
    let name = &entry.name;
    let values: Vec<f32> = match entry.dtype {
        Dtype::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F16 => bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::BF16 => bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        other => {
            return Err(Error::Adapter(format!(
                "has the tensor '{name}' stored as {other}, expected F32, BF16 or F16"
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
    config.check()?;
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
