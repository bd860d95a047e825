//! A GGUF file.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use ft_io::gguf::{Content, MAGIC, TensorInfo, Value, type_name};

use super::Checkpoint;
use super::file::DataFile;
use super::stored::{Format, RowOrder, Stored};
use crate::arch::Architecture;
use crate::arch::gguf::{
    LONG_FACTORS, Layout, ROPE_FACTORS, RopeTensors, SHORT_FACTORS, activation_key, layout, name, number_within, offset,
};
use crate::error::{Error, Result};

/// Opens the GGUF file `path`.
pub(super) fn open(path: &Path) -> Result<Checkpoint> {
    let file = Arc::new(DataFile::open(path)?);
    let mut magic = [0; 4];
    if file.len() < 8 || file.read_at(0, &mut magic).is_err() || &magic != MAGIC {
        let reason = "the file does not begin as a GGUF file does; expected one, or a Hugging Face model folder".into();
        return Err(Error::NoModel { path: path.to_path_buf(), reason });
    }
    let content = Content::read(file.reader(), file.len()).map_err(|reason| Error::malformed(path, reason))?;
    let reader = Reader { file, content };
    let rope = reader.rope_tensors()?;
    let arch = Architecture::from_gguf(&reader.content, &rope).map_err(|e| e.within(path))?;
    let tensors = reader.tensors(&arch)?;
    let metadata =
        reader.content.metadata.iter().filter_map(|(key, value)| Some((key.clone(), value.text()?))).collect();
    Ok(Checkpoint { path: path.to_path_buf(), arch, tensors, files: vec![path.to_path_buf()], metadata })
}

struct Reader {
    file: Arc<DataFile>,
    content: Content,
}

impl Reader {
    /// The tensors by Hugging Face's names. What has no such name keeps its own.
    fn tensors(&self, arch: &Architecture) -> Result<HashMap<String, Stored>> {
        self.refuse_overlaps()?;
        let expected = arch.tensors();
        // All experts' matrices of a kind are one tensor, so several names may stand for one.
        let mut names: HashMap<String, Vec<&str>> = HashMap::new();
        for tensor in &expected {
            if let Some(own) = name(arch, &tensor.name) {
                names.entry(own).or_default().push(&tensor.name);
            }
        }
        let mut tensors = HashMap::new();
        for (own, info) in &self.content.tensors {
            if ROPE_TENSORS.contains(&own.as_str()) {
                continue;
            }
            let whole = self.stored(own, info)?;
            let alone = [own.as_str()];
            for name in names.get(own).map_or(&alone[..], Vec::as_slice) {
                let stored = match number_within(arch, name) {
                    Some(number) => self.part(own, &whole, number)?,
                    None => whole.clone(),
                };
                let stored = self.ordered(arch, own, name, stored)?;
                tensors.insert((*name).to_owned(), Stored { added: offset(arch, name), ..stored });
            }
        }
        for tensor in &expected {
            if let Some((key, layer)) = activation_key(arch, &tensor.name) {
                tensors.insert(tensor.name.clone(), self.number_of(&key, layer, &tensor.shape)?);
            }
        }
        Ok(tensors)
    }

    /// The part number `number` of a tensor `[experts, rows, columns]` or `[heads, width]`.
    fn part(&self, own: &str, whole: &Stored, number: usize) -> Result<Stored> {
        let wrong = || {
            let told = format!(
                "the tensor '{own}' has the shape {:?}, expected one whose first number is above {number}, and one or two more",
                whole.shape()
            );
            Error::malformed(self.file.path(), told)
        };
        let (count, shape) = match whole.shape() {
            [count, shape @ ..] if matches!(shape.len(), 1 | 2) => (*count, shape.to_vec()),
            _ => return Err(wrong()),
        };
        // A row begins with a block, so a matrix does.
        let bytes = whole.format().bytes(shape.iter().product()).filter(|_| number < count).ok_or_else(wrong)?;
        Ok(Stored { offset: whole.offset + number as u64 * bytes, shape, ..whole.clone() })
    }

    /// A tensor of one number, which stands in the metadata: for all layers, or for each of them.
    fn number_of(&self, key: &str, layer: usize, shape: &[usize]) -> Result<Stored> {
        let number = match self.content.metadata.get(key) {
            Some(Value::F32(number)) => Some(*number),
            _ => self.content.floats(key).and_then(|numbers| numbers.get(layer).copied()),
        };
        let number = number.ok_or_else(|| {
            let found = self.content.metadata.get(key).map_or_else(|| "missing".into(), Value::told);
            let expected = format!("a number for each layer, and one for layer {layer}");
            Error::Key { key: key.into(), found, expected }.within(self.file.path())
        })?;
        let file = Arc::new(DataFile::in_memory(self.file.path(), number.to_le_bytes().into()));
        let (format, order) = (Format::F32, RowOrder::Plain);
        Ok(Stored { file, offset: 0, format, shape: shape.to_vec(), order, added: 0.0, constants: None })
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
        let format = Format::of_ggml(info.kind).ok_or_else(|| Error::TensorType {
            path: path.to_path_buf(),
            tensor: name.into(),
            found: type_name(info.kind).into_owned(),
            expected: "F32, F16, BF16, F64, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 or Q2_K to Q6_K",
        })?;
        let shape = info.shape.clone();
        let elements = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        let len = elements.and_then(|n| format.bytes(n)).filter(|_| {
            // A row of a matrix begins with a block.
            shape.len() < 2 || format.bytes(shape.iter().skip(1).fold(1, |n, d| n.saturating_mul(*d))).is_some()
        });
        let len = len.ok_or_else(|| {
            Error::malformed(
                path,
                format!("the tensor '{name}' of shape {shape:?} is no whole number of {format} blocks"),
            )
        })?;
        let offset = self.content.data_offset.checked_add(info.offset);
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

    /// Fails where a byte of the file belongs to two tensors.
    fn refuse_overlaps(&self) -> Result<()> {
        let mut places = Vec::with_capacity(self.content.tensors.len());
        for (name, info) in &self.content.tensors {
            let stored = self.stored(name, info)?;
            places.push((stored.offset, stored.offset + stored.bytes() as u64, name));
        }
        places.sort_unstable();
        let mut before: Option<(u64, &str)> = None;
        for (start, end, name) in places.into_iter().filter(|(start, end, _)| start < end) {
            if let Some((taken, other)) = before.filter(|(taken, _)| start < *taken) {
                let told =
                    format!("the tensor '{name}' begins at byte {start}, within '{other}', which ends at {taken}");
                return Err(Error::malformed(self.file.path(), told));
            }
            before = Some((end, name));
        }
        Ok(())
    }

    /// The small tensors that change the rotary embedding.
    fn rope_tensors(&self) -> Result<RopeTensors> {
        let mut tensors = RopeTensors::new();
        for name in ROPE_TENSORS {
            let Some(info) = self.content.tensors.get(name) else { continue };
            let stored = self.stored(name, info)?;
            // There is one for each pair of a head's elements.
            if stored.elements() > MOST_FACTORS {
                let told =
                    format!("the tensor '{name}' has {} elements, expected at most {MOST_FACTORS}", stored.elements());
                return Err(Error::malformed(self.file.path(), told));
            }
            let mut factors = vec![0.0; stored.rows() * stored.columns()];
            stored.read_all(&mut factors)?;
            tensors.insert(name, factors);
        }
        Ok(tensors)
    }
}

/// More elements than half a head has.
const MOST_FACTORS: usize = 1 << 16;

/// Tensors that are no weights.
const ROPE_TENSORS: [&str; 3] = [ROPE_FACTORS, LONG_FACTORS, SHORT_FACTORS];
