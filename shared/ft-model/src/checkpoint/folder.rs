//! A Hugging Face folder: `config.json` and safetensors, one file or shards with an index.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use ::safetensors::Dtype;
use serde::Deserialize;
use serde_json::Value;

use super::bnb;
use super::bnb_parts::Raw;
use super::file::DataFile;
use super::names::{canonical, is_buffer};
use super::stored::{Format, RowOrder, Stored};
use super::{CONFIG_FILE, Checkpoint};
use crate::arch::{Architecture, Family};
use crate::error::{Error, Result};
use crate::safetensors::{Header, PREFIX, header_len, too_short};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Opens the model in the folder `path`.
pub(super) fn open(path: &Path) -> Result<Checkpoint> {
    let arch = architecture(path)?;
    let mut tensors = Tensors::new(arch.family);
    let mut metadata = HashMap::new();
    let mut files = Vec::new();
    let (single, shards) = (path.join(SINGLE), path.join(INDEX));
    if single.is_file() {
        if shards.is_file() {
            tracing::warn!(
                "'{}' has both {SINGLE} and {INDEX}: the first is read, as transformers does",
                path.display()
            );
        }
        metadata.extend(add_file(&single, &mut tensors, None)?);
        files.push(single);
    } else if shards.is_file() {
        let index = read_index(&shards)?;
        for name in index.values().collect::<BTreeSet<_>>() {
            let file = path.join(name);
            if !file.is_file() {
                let reason = format!("it names the shard '{name}', which is not in the folder");
                return Err(Error::malformed(shards, reason));
            }
            metadata.extend(add_file(&file, &mut tensors, Some(&index))?);
            files.push(file);
        }
        if let Some(name) = index.keys().find(|name| !tensors.seen.contains_key(*name)) {
            let shard = path.join(&index[name]);
            return Err(Error::malformed(shard, format!("it has no tensor '{name}', though the index says so")));
        }
    } else {
        return Err(no_weights(path));
    }
    bound(&arch, tensors.seen.len()).map_err(|e| e.within(&path.join(CONFIG_FILE)))?;
    let Tensors { numbers: mut tensors, raw, .. } = tensors;
    bnb::join(path, &mut tensors, raw)?;
    Ok(Checkpoint { path: path.to_path_buf(), arch, tensors, files, metadata })
}

/// Fails where a configuration asks for more than files with `stored` tensors can have, before the names of all that it
/// asks for are made.
fn bound(arch: &Architecture, stored: usize) -> Result<()> {
    let experts = arch.experts.map_or(0, |of| of.count);
    for (key, asked) in [("num_hidden_layers", arch.num_layers), ("num_experts", experts)] {
        if asked > stored {
            let expected = format!("at most {stored}, the number of tensors in the folder's files");
            return Err(Error::Key { key: key.into(), found: asked.to_string(), expected });
        }
    }
    Ok(())
}

fn architecture(path: &Path) -> Result<Architecture> {
    let file = path.join(CONFIG_FILE);
    if !file.is_file() {
        let reason = format!("the folder has no {CONFIG_FILE}; expected a Hugging Face model folder or a GGUF file");
        return Err(Error::NoModel { path: path.to_path_buf(), reason });
    }
    let text = std::fs::read(&file).map_err(|e| Error::read(&file, e))?;
    let mut config: Value =
        serde_json::from_slice(&text).map_err(|e| Error::malformed(&file, format!("it is not whole JSON: {e}")))?;
    bnb::take_config(&mut config).map_err(|e| e.within(&file))?;
    Architecture::from_config(&config).map_err(|e| e.within(&file))
}

/// The tensors of a folder, by the architecture's names.
struct Tensors {
    /// Whose names they are.
    family: Family,
    /// Those that are numbers.
    numbers: HashMap<String, Stored>,
    /// Those that are bytes: parts of quantised tensors.
    raw: HashMap<String, Raw>,
    /// The names as the files have them, with those as the architecture has them.
    seen: BTreeMap<String, String>,
}

impl Tensors {
    fn new(family: Family) -> Self {
        Self { family, numbers: HashMap::new(), raw: HashMap::new(), seen: BTreeMap::new() }
    }

    /// The architecture's name of a tensor of a file, if it is one of weights.
    fn name(&mut self, path: &Path, stored: &str) -> Result<Option<String>> {
        if is_buffer(self.family, stored) {
            self.seen.insert(stored.into(), String::new());
            return Ok(None);
        }
        let name = canonical(self.family, stored);
        if self.numbers.contains_key(&name) || self.raw.contains_key(&name) {
            let other = self.seen.iter().find(|(_, known)| **known == name).map_or("", |(other, _)| other.as_str());
            return Err(Error::malformed(
                path,
                format!("the tensor '{name}' is there twice, as '{other}' and '{stored}'"),
            ));
        }
        self.seen.insert(stored.into(), name.clone());
        Ok(Some(name))
    }
}

fn no_weights(path: &Path) -> Error {
    let other = ["pytorch_model.bin", "pytorch_model.bin.index.json", "adapter_model.safetensors"];
    let found = other.iter().find(|name| path.join(name).exists());
    let found =
        found.map_or_else(String::new, |name| format!(" (there is '{name}', which is no model in safetensors)"));
    Error::NoModel { path: path.to_path_buf(), reason: format!("the folder has neither {SINGLE} nor {INDEX}{found}") }
}

/// Which shard holds each tensor.
fn read_index(path: &Path) -> Result<BTreeMap<String, String>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let text = std::fs::read(path).map_err(|e| Error::read(path, e))?;
    let index: Index =
        serde_json::from_slice(&text).map_err(|e| Error::malformed(path, format!("it is no index of shards: {e}")))?;
    // A shard outside the folder is no shard of this model.
    match index.weight_map.values().find(|name| name.contains(['/', '\\']) || *name == "..") {
        Some(name) => Err(Error::malformed(path, format!("it names the shard '{name}', expected a file's name"))),
        None => Ok(index.weight_map),
    }
}

/// Adds the tensors of one file, those that the index assigns to it. Returns the file's metadata.
fn add_file(
    path: &Path,
    tensors: &mut Tensors,
    index: Option<&BTreeMap<String, String>>,
) -> Result<BTreeMap<String, String>> {
    let file = Arc::new(DataFile::open(path)?);
    let header = read_header(&file)?;
    for entry in header.entries {
        if index.is_some_and(|index| index.get(&entry.name).is_none_or(|shard| !path.ends_with(shard))) {
            continue;
        }
        let Some(name) = tensors.name(path, &entry.name)? else { continue };
        let (file, offset, shape) = (Arc::clone(&file), entry.offset, entry.shape);
        if let Some(format) = format(entry.dtype) {
            let stored = Stored { file, offset, format, shape, order: RowOrder::Plain, added: 0.0, constants: None };
            tensors.numbers.insert(name, stored);
        } else {
            tensors.raw.insert(name, Raw { file, offset, len: entry.len, dtype: entry.dtype, shape });
        }
    }
    Ok(header.metadata)
}

/// The header of a safetensors file.
pub(crate) fn read_header(file: &DataFile) -> Result<Header> {
    let wrong = |reason| Error::malformed(file.path(), reason);
    if file.len() < PREFIX {
        return Err(wrong(too_short(file.len())));
    }
    let mut prefix = [0; PREFIX as usize];
    file.read_at(0, &mut prefix)?;
    let mut json = vec![0; header_len(prefix, file.len()).map_err(wrong)?];
    file.read_at(PREFIX, &mut json)?;
    Header::parse(&json, file.len()).map_err(wrong)
}

/// The types that can be widened to f32.
fn format(dtype: Dtype) -> Option<Format> {
    match dtype {
        Dtype::F64 => Some(Format::F64),
        Dtype::F32 => Some(Format::F32),
        Dtype::BF16 => Some(Format::Bf16),
        Dtype::F16 => Some(Format::F16),
        _ => None,
    }
}
