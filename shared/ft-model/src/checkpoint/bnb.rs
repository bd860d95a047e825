//! Checkpoints that transformers quantised with bitsandbytes.
//!
//! A linear layer `X` in 4 bits has `X.weight`, two codes a byte; `X.weight.absmax`, the blocks' scales, f32 or themselves
//! in 8 bits; `X.weight.quant_map`, the numbers of the 16 codes; `X.weight.quant_state.bitsandbytes__nf4` (or `__fp4`),
//! JSON in bytes with the shape and the sizes of blocks; and for scales in 8 bits `X.weight.nested_absmax` and
//! `X.weight.nested_quant_map`. In 8 bits it has `X.weight`, signed bytes; `X.SCB`, a scale a row; and
//! `X.weight_format`. All else in such a checkpoint is as in any other.
//!
//! Values are expanded to f32, where bitsandbytes rounds them once more to the type that the model was made from; and
//! activations stay as they are, where `LLM.int8()` rounds them to 8 bits.

use std::collections::HashMap;
use std::path::Path;

use ::safetensors::Dtype;
use ft_kernels::quant::{Kind, Second};
use serde::Deserialize;
use serde_json::Value;

use super::bnb_parts::{Constants, Raw};
use super::stored::{Format, Stored};
use crate::error::{Error, Result};

/// The key of `config.json`.
const KEY: &str = "quantization_config";
/// Between a tensor's name and the kind of its codes.
const STATE: &str = ".quant_state.bitsandbytes__";

/// Takes the words about quantisation out of a `config.json`: the tensors say it all themselves, and what is made from
/// the model is no longer quantised.
///
/// # Errors
/// If something else than bitsandbytes quantised the model.
pub(super) fn take_config(config: &mut Value) -> Result<()> {
    let Some(found) = config.as_object_mut().and_then(|map| map.shift_remove(KEY)) else { return Ok(()) };
    let method = found.get("quant_method").and_then(Value::as_str);
    let by_flag = ["load_in_4bit", "load_in_8bit"].iter().any(|flag| found.get(flag) == Some(&Value::Bool(true)));
    if found.is_null() || method == Some("bitsandbytes") || (method.is_none() && by_flag) {
        return Ok(());
    }
    Err(Error::Unsupported {
        key: format!("{KEY}.quant_method"),
        value: method.map_or_else(|| "missing".into(), |name| format!("'{name}'")),
        expected: "'bitsandbytes', or a model that is not quantised".into(),
    })
}

/// Makes quantised tensors of their parts: takes bytes out of `raw`, constants out of `tensors`, and puts the whole
/// into `tensors`. The model is at `path`.
///
/// # Errors
/// If a part is missing or does not fit the others, or bytes are left over that belong to none.
pub(super) fn join(path: &Path, tensors: &mut HashMap<String, Stored>, raw: HashMap<String, Raw>) -> Result<()> {
    let mut parts = Parts { path, tensors, raw };
    for state in parts.sorted(|name| name.contains(STATE)) {
        let (name, kind) = state.split_once(STATE).unwrap_or_default();
        let stored = parts.four_bit(name, kind, &state)?;
        parts.tensors.insert(name.to_owned(), stored);
    }
    for name in parts.sorted(|name| name.ends_with(".weight")) {
        if let Some(stored) = parts.byte_rows(&name)? {
            parts.tensors.insert(name, stored);
        }
    }
    match parts.sorted(|_| true).first() {
        None => Ok(()),
        Some(name) => Err(Error::TensorType {
            path: parts.raw[name].file.path().to_path_buf(),
            tensor: name.clone(),
            found: parts.raw[name].dtype.to_string(),
            expected: "F32, BF16, F16 or F64",
        }),
    }
}

struct Parts<'a> {
    path: &'a Path,
    tensors: &'a mut HashMap<String, Stored>,
    raw: HashMap<String, Raw>,
}

/// What `X.weight.quant_state.bitsandbytes__nf4` says.
#[derive(Deserialize)]
struct QuantState {
    blocksize: usize,
    shape: Vec<usize>,
    nested_blocksize: Option<usize>,
    nested_offset: Option<f32>,
}

impl Parts<'_> {
    fn sorted(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let mut names: Vec<String> = self.raw.keys().filter(|name| wanted(name)).cloned().collect();
        names.sort();
        names
    }

    /// The four-bit tensor `name`, whose state is the tensor `state`.
    fn four_bit(&mut self, name: &str, kind: &str, state: &str) -> Result<Stored> {
        let state_bytes = self.raw.remove(state).ok_or_else(|| self.missing(state))?;
        let path = state_bytes.file.path().to_path_buf();
        let wrong = |reason: String| Error::malformed(&path, reason);
        let told: QuantState = serde_json::from_slice(&state_bytes.read()?)
            .map_err(|e| wrong(format!("the tensor '{state}' is no state of bitsandbytes: {e}")))?;
        let kind = Kind::from_name(kind)
            .ok_or_else(|| wrong(format!("the tensor '{name}' is in '{kind}', expected nf4 or fp4")))?;
        let block = told.blocksize;
        if !block.is_power_of_two() || !(32..=4096).contains(&block) {
            return Err(wrong(format!("'{state}' has blocks of {block}, expected a power of two from 32 to 4096")));
        }
        if told.nested_blocksize.is_some_and(|nested| nested != Second::BLOCK) {
            let expected = Second::BLOCK;
            return Err(wrong(format!("'{state}' has nested blocks of another size, expected {expected}")));
        }
        let elements = told.shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).unwrap_or(usize::MAX);
        let blocks = elements.div_ceil(block);
        let table = self.floats(&format!("{name}.quant_map"), 16)?;
        if table != kind.table() {
            return Err(wrong(format!("'{name}.quant_map' is not the table of {kind}: {table:?}")));
        }
        let weight = self.bytes(name, elements.div_ceil(2))?;
        let absmax = format!("{name}.absmax");
        let nested = self.raw.contains_key(&absmax);
        let absmax = self.bytes(&absmax, if nested { blocks } else { blocks.saturating_mul(4) })?;
        let second = if nested {
            let scales = self.floats(&format!("{name}.nested_absmax"), blocks.div_ceil(Second::BLOCK))?;
            let map = self.floats(&format!("{name}.nested_quant_map"), 256)?;
            let offset = told.nested_offset.ok_or_else(|| wrong(format!("'{state}' lacks 'nested_offset'")))?;
            let map = std::array::from_fn(|i| map[i]);
            Some(Second::new(scales, offset, &map))
        } else {
            None
        };
        let constants = Constants::Four { kind, block, absmax: (absmax.file, absmax.offset), second };
        Ok(Stored::packed(weight, Format::FourBit(kind), told.shape, constants))
    }

    /// The tensor `name` if it is one of `LLM.int8()`.
    fn byte_rows(&mut self, name: &str) -> Result<Option<Stored>> {
        let module = name.strip_suffix(".weight").unwrap_or(name);
        let scales = format!("{module}.SCB");
        if self.raw[name].dtype != Dtype::I8 || !self.tensors.contains_key(&scales) {
            return Ok(None);
        }
        let Some(raw) = self.raw.remove(name) else { return Ok(None) };
        let scales = self.floats(&scales, raw.shape.first().copied().unwrap_or(0))?;
        let format = format!("{module}.weight_format");
        if let Some(found) = self.raw.remove(&format) {
            // Older GPUs had the rows in tiles of their own.
            let order = found.read()?;
            if order != [0] {
                let told = format!("'{format}' is {order:?}, expected [0]: rows one after the other");
                return Err(Error::malformed(raw.file.path(), told));
            }
        }
        let shape = raw.shape.clone();
        Ok(Some(Stored::packed(raw, Format::ByteRows, shape, Constants::Rows { scales })))
    }

    fn missing(&self, name: &str) -> Error {
        let told = format!("there is no tensor '{name}', though another says that bitsandbytes quantised it");
        Error::malformed(self.path, told)
    }

    /// Takes the tensor `name`, which must have `len` bytes.
    fn bytes(&mut self, name: &str, len: usize) -> Result<Raw> {
        // Where codes are stored as another type, for the sake of sharding, they look like floats.
        let found = self.raw.remove(name).or_else(|| self.tensors.remove(name).and_then(|stored| stored.as_raw()));
        let found = found.ok_or_else(|| self.missing(name))?;
        if found.len == len as u64 {
            return Ok(found);
        }
        let told = format!("the tensor '{name}' has {} bytes, expected {len}", found.len);
        Err(Error::malformed(found.file.path(), told))
    }

    /// Takes the tensor `name`, which must have `len` numbers.
    fn floats(&mut self, name: &str, len: usize) -> Result<Vec<f32>> {
        let stored = self.tensors.remove(name).ok_or_else(|| self.missing(name))?;
        let has: usize = stored.shape().iter().product();
        if has != len {
            let told = format!("the tensor '{name}' has {has} numbers, expected {len}");
            return Err(Error::malformed(stored.path(), told));
        }
        let mut values = vec![0.0; len];
        stored.read_all(&mut values)?;
        Ok(values)
    }
}

#[cfg(test)]
mod tests;
