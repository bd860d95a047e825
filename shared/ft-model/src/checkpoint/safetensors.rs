//! Hugging Face folders: `model.safetensors`, or shards with an index.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::Value;

use super::mapped::MappedFile;
use super::widen::widen;
use crate::error::{Error, Result};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The files of a folder and where each tensor lies in them.
pub struct Shards {
    files: Vec<MappedFile>,
    tensors: BTreeMap<String, Place>,
}

struct Place {
    file: usize,
    bytes: Range<usize>,
    dtype: String,
    shape: Vec<usize>,
}

impl Shards {
    /// Opens the folder's files and checks their headers.
    ///
    /// # Errors
    /// If a file is missing or damaged, or the index names a tensor that its file does not hold.
    pub fn open(dir: &Path) -> Result<Self> {
        let index = dir.join(INDEX);
        let mut shards = Self { files: Vec::new(), tensors: BTreeMap::new() };
        if dir.join(SINGLE).exists() || !index.exists() {
            shards.add(&dir.join(SINGLE))?;
            return Ok(shards);
        }
        let map = read_index(&index)?;
        let names: std::collections::BTreeSet<&String> = map.values().collect();
        for name in names {
            shards.add(&dir.join(name))?;
        }
        match map.keys().find(|tensor| !shards.tensors.contains_key(*tensor)) {
            Some(tensor) => Err(Error::format(&index, format!("says that {} holds {tensor}, but it does not", map[tensor]))),
            None => Ok(shards),
        }
    }

    fn add(&mut self, path: &Path) -> Result<()> {
        let file = MappedFile::open(path)?;
        let number = self.files.len();
        for (name, place) in places(&file, number)? {
            if self.tensors.insert(name.clone(), place).is_some() {
                return Err(Error::format(path, format!("holds {name}, which another shard holds too")));
            }
        }
        self.files.push(file);
        Ok(())
    }

    pub fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.tensors.get(name).map(|p| p.shape.clone())
    }

    pub fn dtype(&self, name: &str) -> Option<String> {
        self.tensors.get(name).map(|p| p.dtype.clone())
    }

    /// Reads a tensor and gives its pages back.
    pub fn read_f32(&self, name: &str, out: &mut [f32]) -> Result<()> {
        let place = &self.tensors[name];
        let file = &self.files[place.file];
        if !widen(&place.dtype, &file.bytes()[place.bytes.clone()], out) {
            let message = format!("tensor {name} is stored as {}, expected F32, BF16 or F16", place.dtype);
            return Err(Error::format(file.path(), message));
        }
        file.release(place.bytes.clone());
        Ok(())
    }
}

/// The tensors of one file. The header's own rules (no hole, no overlap, no byte too many or too few)
/// are checked by the safetensors library.
fn places(file: &MappedFile, number: usize) -> Result<Vec<(String, Place)>> {
    let damaged = |e: safetensors::SafeTensorError| {
        Error::format(file.path(), format!("is damaged ({e}); copy or download it again"))
    };
    let (header, metadata) = SafeTensors::read_metadata(file.bytes()).map_err(damaged)?;
    // Eight bytes of length come before the header.
    let start = header + 8;
    let place = |(name, info): (String, &safetensors::tensor::TensorInfo)| {
        let (from, to) = info.data_offsets;
        let place =
            Place { file: number, bytes: start + from..start + to, dtype: format!("{:?}", info.dtype), shape: info.shape.clone() };
        (name, place)
    };
    Ok(metadata.tensors().into_iter().map(place).collect())
}

/// Which file holds each tensor.
fn read_index(path: &PathBuf) -> Result<BTreeMap<String, String>> {
    let text = std::fs::read(path).map_err(|e| Error::read(path, e))?;
    let index: Value = serde_json::from_slice(&text).map_err(|e| Error::format(path, format!("is no JSON: {e}")))?;
    let Some(map) = index.get("weight_map").and_then(Value::as_object) else {
        return Err(Error::format(path, "has no weight_map"));
    };
    map.iter()
        .map(|(tensor, file)| match file.as_str() {
            Some(file) if !file.contains('/') => Ok((tensor.clone(), file.to_owned())),
            _ => Err(Error::format(path, format!("weight_map says {file} for {tensor}, expected the name of a file"))),
        })
        .collect()
}
