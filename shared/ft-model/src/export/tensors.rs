//! Which tensors a file has, and what each is made of.

use ft_io::gguf::NewTensor;

use super::loads;
use super::refused::refused;
use crate::arch::gguf::{Layout, layout, name, number_within, offset};
use crate::arch::{Architecture, Expected};
use crate::checkpoint::Format;
use crate::error::Result;

/// A tensor of a GGUF file.
#[derive(Debug, Clone)]
pub struct GgufTensor {
    /// Its name in the file.
    pub name: String,
    /// Its shape, the last dimension the one whose elements lie beside each other.
    pub shape: Vec<usize>,
    /// How its numbers are stored.
    pub format: Format,
    /// What it is made of, one part's rows after the other's: the experts' matrices, or one tensor.
    pub parts: Vec<GgufPart>,
}

/// A tensor of the model that is a tensor of the file, or a part of one.
#[derive(Debug, Clone)]
pub struct GgufPart {
    /// Its Hugging Face name.
    pub from: String,
    /// Rows and columns in the file.
    pub rows: usize,
    /// See [`GgufPart::rows`].
    pub columns: usize,
    /// What is added to each value.
    pub added: f32,
    layout: Layout,
    /// The width of a head, by which rows are ordered.
    head: usize,
}

impl GgufTensor {
    /// As the header has it.
    pub(super) fn header(&self) -> Result<NewTensor> {
        let elements = self.shape.iter().product();
        let bytes = self.format.bytes(elements).zip(self.format.ggml());
        let (bytes, kind) =
            bytes.ok_or_else(|| refused(&self.name, self.format, "a type that its rows are blocks of"))?;
        Ok(NewTensor { name: self.name.clone(), shape: self.shape.clone(), kind, bytes })
    }
}

impl GgufPart {
    /// Whether the file has the matrix transposed, so that its rows are the model's columns.
    pub fn is_transposed(&self) -> bool {
        self.layout == Layout::Transposed
    }

    /// Rows of the model are taken in multiples of this many, so that what one piece writes is no other's.
    pub fn granule(&self) -> usize {
        match self.layout {
            Layout::Same => 1,
            Layout::Interleaved | Layout::ByPart => self.head,
            Layout::Transposed => self.columns,
        }
    }

    /// Where in the file the model's row number `row` goes; of a transposed matrix rows are columns.
    pub fn file_row(&self, row: usize) -> usize {
        let head = self.head;
        match self.layout {
            Layout::Same | Layout::Transposed => row,
            Layout::Interleaved => {
                let (first, within) = (row / head * head, row % head);
                let half = head / 2;
                first + if within < half { 2 * within } else { 2 * (within - half) + 1 }
            }
            Layout::ByPart => {
                let (block, heads) = (row / head, self.rows / (3 * head));
                (block % 3 * heads + block / 3) * head + row % head
            }
        }
    }
}

/// All weights, in the order of the computation; their types are still those of 32 bits.
pub(super) fn all(arch: &Architecture, architecture: &str) -> Result<Vec<GgufTensor>> {
    let mut all: Vec<GgufTensor> = Vec::new();
    for expected in arch.tensors() {
        let Some(own) = name(arch, &expected.name) else {
            return Err(refused(
                &expected.name,
                "a tensor",
                format!("none: llama.cpp's '{architecture}' has no such one"),
            ));
        };
        let part = part(arch, &expected);
        let expert = number_within(arch, &expected.name);
        if let Some(tensor) = all.iter_mut().rev().find(|known| known.name == own).filter(|_| expert.is_some()) {
            tensor.shape[0] += 1;
            tensor.parts.push(part);
            continue;
        }
        let mut shape = if expected.shape.len() < 2 { vec![part.rows] } else { vec![part.rows, part.columns] };
        if expert.is_some() {
            shape.insert(0, 1);
        }
        all.push(GgufTensor { name: own, shape, format: Format::F32, parts: vec![part] });
    }
    if arch.tie_word_embeddings && loads::needs_head(architecture) {
        // The same numbers once more: llama.cpp asks for them by this name.
        let table = all.first().cloned().map(|table| GgufTensor { name: "output.weight".into(), ..table });
        all.extend(table);
    }
    Ok(all)
}

fn part(arch: &Architecture, expected: &Expected) -> GgufPart {
    let layout = layout(arch, &expected.name);
    let rows = expected.shape.first().copied().unwrap_or(1);
    let columns = expected.shape.iter().skip(1).product();
    let (rows, columns) = if layout == Layout::Transposed { (columns, rows) } else { (rows, columns) };
    let added = offset(arch, &expected.name);
    GgufPart { from: expected.name.clone(), rows, columns, added, layout, head: arch.head_dim }
}
