//! A GGUF file.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::{Content, TensorInfo, Value};

use super::Checkpoint;
use super::file::DataFile;
use super::stored::{Format, RowOrder, Stored};
use crate::arch::Architecture;
use crate::arch::gguf::{
    LONG_FACTORS, Layout, ROPE_FACTORS, RopeTensors, SHORT_FACTORS, expert_number, layout, name, offset,
};
use crate::error::{Error, Result};

/// Opens the GGUF file `path`.
pub(super) fn open(path: &Path) -> Result<Checkpoint> {
    let file = Arc::new(DataFile::open(path)?);
    let mut magic = [0; 4];
    if file.len() < 8 || file.read_at(0, &mut magic).is_err() || &magic != b"GGUF" {
        let reason = "the file does not begin as a GGUF file does; expected one, or a Hugging Face model folder".into();
        return Err(Error::NoModel { path: path.to_path_buf(), reason });
    }
    let content = Content::read(&mut file.reader())
        .map_err(|e| Error::malformed(path, format!("it is not a whole GGUF file: {e}")))?;
    let reader = Reader { file, content };
    let rope = reader.rope_tensors()?;
    let arch = Architecture::from_gguf(&reader.content, &rope).map_err(|e| e.within(path))?;
    let tensors = reader.tensors(&arch)?;
    let metadata =
        reader.content.metadata.iter().filter_map(|(key, value)| Some((key.clone(), text(value)?))).collect();
    Ok(Checkpoint { path: path.to_path_buf(), arch, tensors, files: vec![path.to_path_buf()], metadata })
}

struct Reader {
    file: Arc<DataFile>,
    content: Content,
}

impl Reader {
    /// The tensors by Hugging Face's names. What has no such name keeps its own.
    fn tensors(&self, arch: &Architecture) -> Result<HashMap<String, Stored>> {
        let expected = arch.tensors();
        // All experts' matrices of a kind are one tensor, so several names may stand for one.
        let mut names: HashMap<String, Vec<&str>> = HashMap::new();
        for tensor in &expected {
            if let Some(own) = name(arch, &tensor.name) {
                names.entry(own).or_default().push(&tensor.name);
            }
        }
        let mut tensors = HashMap::new();
        for (own, info) in &self.content.tensor_infos {
            if ROPE_TENSORS.contains(&own.as_str()) {
                continue;
            }
            let whole = self.stored(own, info)?;
            let alone = [own.as_str()];
            for name in names.get(own).map_or(&alone[..], Vec::as_slice) {
                let stored = match expert_number(arch, name) {
                    Some(number) => self.expert(own, &whole, number)?,
                    None => whole.clone(),
                };
                let stored = self.ordered(arch, own, name, stored)?;
                tensors.insert((*name).to_owned(), Stored { added: offset(arch, name), ..stored });
            }
        }
        Ok(tensors)
    }

    /// The matrix number `number` of a tensor `[experts, rows, columns]`.
    fn expert(&self, own: &str, whole: &Stored, number: usize) -> Result<Stored> {
        let wrong = || {
            let told = format!(
                "the tensor '{own}' has the shape {:?}, expected [experts, rows, columns] with more than {number} experts",
                whole.shape()
            );
            Error::malformed(self.file.path(), told)
        };
        let [experts, rows, columns] = *whole.shape() else { return Err(wrong()) };
        // A row begins with a block, so a matrix does.
        let bytes = whole.format().bytes(rows * columns).filter(|_| number < experts).ok_or_else(wrong)?;
        Ok(Stored { offset: whole.offset + number as u64 * bytes, shape: vec![rows, columns], ..whole.clone() })
    }

    /// The tensor `own` with Hugging Face's shape, and how it comes to it.
    fn ordered(&self, arch: &Architecture, own: &str, name: &str, stored: Stored) -> Result<Stored> {
        let head = arch.head_dim;
        let whole = |rows: usize| {
            if stored.rows().is_multiple_of(rows) {
                return Ok(());
            }
            let told = format!("the tensor '{own}' has {} rows, expected a multiple of {rows}", stored.rows());
            Err(Error::malformed(self.file.path(), told))
        };
        let order = match layout(arch, name) {
            Layout::Same => RowOrder::Plain,
            Layout::Interleaved => {
                whole(head)?;
                RowOrder::Interleaved(head)
            }
            Layout::ByPart => {
                whole(3 * head)?;
                RowOrder::ByPart(head)
            }
            Layout::Transposed => {
                let shape = stored.shape().iter().rev().copied().collect();
                return Ok(Stored { order: RowOrder::Transposed, shape, ..stored });
            }
        };
        Ok(Stored { order, ..stored })
    }

    fn stored(&self, name: &str, info: &TensorInfo) -> Result<Stored> {
        let path = self.file.path();
        let format = match info.ggml_dtype {
            GgmlDType::F32 => Format::F32,
            GgmlDType::F16 => Format::F16,
            GgmlDType::BF16 => Format::Bf16,
            // candle has no expansion for these two: they are llama.cpp's types for activations.
            GgmlDType::Q8_1 | GgmlDType::Q8K => {
                return Err(Error::TensorType {
                    path: path.to_path_buf(),
                    tensor: name.into(),
                    found: format!("{:?}", info.ggml_dtype),
                    expected: "a type for weights",
                });
            }
            other => Format::Blocks(other),
        };
        let shape = info.shape.dims().to_vec();
        let elements = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        let len = elements.and_then(|n| format.bytes(n)).filter(|_| {
            // A row of a matrix begins with a block.
            shape.len() < 2 || format.bytes(shape.iter().skip(1).product()).is_some()
        });
        let len = len.ok_or_else(|| {
            Error::malformed(
                path,
                format!("the tensor '{name}' of shape {shape:?} is no whole number of {format} blocks"),
            )
        })?;
        let offset = self.content.tensor_data_offset.checked_add(info.offset);
        let end = offset.and_then(|offset| offset.checked_add(len));
        match (offset, end) {
            (Some(offset), Some(end)) if end <= self.file.len() => {
                let file = Arc::clone(&self.file);
                Ok(Stored { file, offset, format, shape, order: RowOrder::Plain, added: 0.0, constants: None })
            }
            _ => {
                let has = self.file.len();
                let told = format!("the tensor '{name}' ends outside the file, which has {has} bytes; it is cut short");
                Err(Error::malformed(path, told))
            }
        }
    }

    /// The small tensors that change the rotary embedding.
    fn rope_tensors(&self) -> Result<RopeTensors> {
        let mut tensors = RopeTensors::new();
        for name in ROPE_TENSORS {
            let Some(info) = self.content.tensor_infos.get(name) else { continue };
            let stored = self.stored(name, info)?;
            let mut factors = vec![0.0; stored.rows() * stored.columns()];
            stored.read_all(&mut factors)?;
            tensors.insert(name, factors);
        }
        Ok(tensors)
    }
}

/// Tensors that are no weights.
const ROPE_TENSORS: [&str; 3] = [ROPE_FACTORS, LONG_FACTORS, SHORT_FACTORS];

/// A scalar as text.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::F32(x) => Some(x.to_string()),
        Value::F64(x) => Some(x.to_string()),
        Value::I8(_) | Value::I16(_) | Value::I32(_) | Value::I64(_) => value.to_i64().ok().map(|n| n.to_string()),
        Value::Array(_) => None,
        other => other.to_u64().ok().map(|n| n.to_string()),
    }
}
