//! The header of a GGUF file, versions 1 to 3: metadata by key, and where each tensor lies; and its writing.
//!
//! The format is llama.cpp's (`ggml/docs/gguf.md`). Every length is held against what is left of the file before memory
//! is asked for, and a list stays the bytes that it is in the file until somebody asks for its elements, so that reading
//! a header takes about as much memory as it has bytes.

mod header;
mod marks;
mod values;
mod write;

pub use marks::MAGIC;
pub use values::{Array, Kind, Value};
pub use write::{Metadata, NewTensor, Typed, header, places};

use std::borrow::Cow;
use std::collections::BTreeMap;

/// What a GGUF file's header tells.
#[derive(Debug, Clone, Default)]
pub struct Content {
    /// The metadata.
    pub metadata: BTreeMap<String, Value>,
    /// The tensors by name.
    pub tensors: BTreeMap<String, TensorInfo>,
    /// Where the tensors' bytes begin, counted from the start of the file.
    pub data_offset: u64,
}

/// A tensor of a GGUF file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its shape, the last dimension the one whose elements lie beside each other.
    pub shape: Vec<usize>,
    /// Its type, a number of ggml's `ggml_type`.
    pub kind: u32,
    /// Where its bytes begin, counted from [`Content::data_offset`].
    pub offset: u64,
}

impl Content {
    /// The text under `key`.
    pub fn string(&self, key: &str) -> Option<&str> {
        match self.metadata.get(key)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The flag under `key`.
    pub fn flag(&self, key: &str) -> Option<bool> {
        match self.metadata.get(key)? {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    /// The whole number under `key`, if it fits 32 bits without a sign.
    pub fn number(&self, key: &str) -> Option<u32> {
        u32::try_from(self.metadata.get(key)?.whole()?).ok()
    }

    /// The list of texts under `key`.
    pub fn strings(&self, key: &str) -> Option<Vec<Cow<'_, str>>> {
        self.list(key)?.strings()
    }

    /// The list of whole numbers under `key`, if all fit 32 bits without a sign.
    pub fn numbers(&self, key: &str) -> Option<Vec<u32>> {
        self.list(key)?.values()?.map(|value| u32::try_from(value.whole()?).ok()).collect()
    }

    /// The list of floats of 32 bits under `key`.
    pub fn floats(&self, key: &str) -> Option<Vec<f32>> {
        let float = |value| if let Value::F32(x) = value { Some(x) } else { None };
        self.list(key)?.values()?.map(float).collect()
    }

    fn list(&self, key: &str) -> Option<&Array> {
        match self.metadata.get(key)? {
            Value::Array(array) => Some(array),
            _ => None,
        }
    }
}

/// ggml's name of a tensor's type, for messages.
pub fn type_name(kind: u32) -> Cow<'static, str> {
    let names = [
        "F32",
        "F16",
        "Q4_0",
        "Q4_1",
        "Q4_2",
        "Q4_3",
        "Q5_0",
        "Q5_1",
        "Q8_0",
        "Q8_1",
        "Q2_K",
        "Q3_K",
        "Q4_K",
        "Q5_K",
        "Q6_K",
        "Q8_K",
        "IQ2_XXS",
        "IQ2_XS",
        "IQ3_XXS",
        "IQ1_S",
        "IQ4_NL",
        "IQ3_S",
        "IQ2_S",
        "IQ4_XS",
        "I8",
        "I16",
        "I32",
        "I64",
        "F64",
        "IQ1_M",
        "BF16",
        "Q4_0_4_4",
        "Q4_0_4_8",
        "Q4_0_8_8",
        "TQ1_0",
        "TQ2_0",
        "IQ4_NL_4_4",
        "IQ4_NL_4_8",
        "IQ4_NL_8_8",
        "MXFP4",
    ];
    let name = usize::try_from(kind).ok().and_then(|kind| names.get(kind));
    name.map_or_else(|| Cow::Owned(format!("type {kind} of ggml")), |name| Cow::Borrowed(*name))
}

#[cfg(test)]
mod tests;
