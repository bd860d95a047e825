//! The metadata of a GGUF file, by key.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use candle_core::quantized::gguf_file::{Content, Value};

use crate::error::{Error, Result};

pub(crate) const MODEL: &str = "tokenizer.ggml.model";
pub(crate) const TOKENS: &str = "tokenizer.ggml.tokens";
pub(crate) const TOKEN_TYPE: &str = "tokenizer.ggml.token_type";
pub(crate) const SCORES: &str = "tokenizer.ggml.scores";
pub(crate) const MERGES: &str = "tokenizer.ggml.merges";
pub(crate) const PRE: &str = "tokenizer.ggml.pre";
pub(crate) const ADD_SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";
pub(crate) const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
pub(crate) const ADD_EOS: &str = "tokenizer.ggml.add_eos_token";
pub(crate) const CHAT_TEMPLATE: &str = "tokenizer.chat_template";
pub(crate) const TOOL_TEMPLATE: &str = "tokenizer.chat_template.tool_use";

/// Reads the header of the GGUF file at `path`; no tensor is touched.
pub(crate) fn read(path: &Path) -> Result<Content> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    Content::read(&mut Counted { inner: BufReader::with_capacity(1 << 20, file), position: 0 })
        .map_err(|e| Error::malformed(path, format!("not a whole GGUF file: {e}")))
}

/// A reader that knows where it is: candle asks before each text, and `BufReader`
/// would ask the system.
struct Counted {
    inner: BufReader<File>,
    position: u64,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Counted {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = self.inner.seek(to)?;
        Ok(self.position)
    }

    fn stream_position(&mut self) -> io::Result<u64> {
        Ok(self.position)
    }
}

/// The text under `key`.
pub(crate) fn string<'a>(content: &'a Content, key: &str) -> Option<&'a str> {
    match content.metadata.get(key)? {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// The flag under `key`.
pub(crate) fn flag(content: &Content, key: &str) -> Option<bool> {
    match content.metadata.get(key)? {
        Value::Bool(flag) => Some(*flag),
        _ => None,
    }
}

/// The number under `key`.
pub(crate) fn number(content: &Content, key: &str) -> Option<u32> {
    as_number(content.metadata.get(key)?)
}

/// The list of texts under `key`.
pub(crate) fn strings<'a>(content: &'a Content, key: &str) -> Option<Vec<&'a str>> {
    list(content, key)?
        .iter()
        .map(|value| match value {
            Value::String(text) => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

/// The list of whole numbers under `key`.
pub(crate) fn numbers(content: &Content, key: &str) -> Option<Vec<u32>> {
    list(content, key)?.iter().map(as_number).collect()
}

/// The list of floats under `key`.
pub(crate) fn floats(content: &Content, key: &str) -> Option<Vec<f32>> {
    list(content, key)?
        .iter()
        .map(|value| match value {
            Value::F32(x) => Some(*x),
            _ => None,
        })
        .collect()
}

fn list<'a>(content: &'a Content, key: &str) -> Option<&'a [Value]> {
    match content.metadata.get(key)? {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

fn as_number(value: &Value) -> Option<u32> {
    match *value {
        Value::U8(x) => Some(x.into()),
        Value::U16(x) => Some(x.into()),
        Value::U32(x) => Some(x),
        Value::U64(x) => x.try_into().ok(),
        Value::I8(x) => x.try_into().ok(),
        Value::I16(x) => x.try_into().ok(),
        Value::I32(x) => x.try_into().ok(),
        Value::I64(x) => x.try_into().ok(),
        _ => None,
    }
}
