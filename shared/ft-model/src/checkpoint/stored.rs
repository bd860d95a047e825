//! A tensor in a file: where it lies, and its rows as numbers.

use std::cell::RefCell;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use ::safetensors::Dtype;
use candle_core::quantized::GgmlDType;
use ft_kernels::backend::Isa;
use ft_kernels::quant::{Blocks, Kind};
use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use super::bnb_parts::{Constants, Raw};
use super::element::Element;
use super::file::DataFile;
use crate::error::{Error, Result};

/// How numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// IEEE 754 with 64 bits.
    F64,
    /// IEEE 754 with 32 bits.
    F32,
    /// The upper half of an f32.
    Bf16,
    /// IEEE 754 with 16 bits.
    F16,
    /// Blocks of a GGUF file.
    Blocks(GgmlDType),
    /// Codes of bitsandbytes with four bits.
    FourBit(Kind),
    /// Signed bytes with a scale a row: bitsandbytes' `LLM.int8()`.
    ByteRows,
}

/// The types of ggml whose numbers can be expanded here, by their numbers of `ggml_type`. Q8_1 and Q8_K are for
/// activations.
const GGML: [(u32, Format); 14] = [
    (0, Format::F32),
    (1, Format::F16),
    (2, Format::Blocks(GgmlDType::Q4_0)),
    (3, Format::Blocks(GgmlDType::Q4_1)),
    (6, Format::Blocks(GgmlDType::Q5_0)),
    (7, Format::Blocks(GgmlDType::Q5_1)),
    (8, Format::Blocks(GgmlDType::Q8_0)),
    (10, Format::Blocks(GgmlDType::Q2K)),
    (11, Format::Blocks(GgmlDType::Q3K)),
    (12, Format::Blocks(GgmlDType::Q4K)),
    (13, Format::Blocks(GgmlDType::Q5K)),
    (14, Format::Blocks(GgmlDType::Q6K)),
    (28, Format::F64),
    (30, Format::Bf16),
];

impl Format {
    /// How numbers of the type number `kind` of ggml are stored.
    pub(super) fn of_ggml(kind: u32) -> Option<Self> {
        GGML.into_iter().find(|(number, _)| *number == kind).map(|(_, format)| format)
    }

    /// Its number among ggml's types, if it is one of them.
    pub fn ggml(self) -> Option<u32> {
        GGML.into_iter().find(|(_, format)| *format == self).map(|(number, _)| number)
    }

    /// Elements and bytes of one block.
    fn block(self) -> (usize, usize) {
        match self {
            Format::F64 => (1, 8),
            Format::F32 => (1, 4),
            Format::Bf16 | Format::F16 => (1, 2),
            Format::Blocks(kind) => (kind.block_size(), kind.type_size()),
            Format::FourBit(_) => (2, 1),
            Format::ByteRows => (1, 1),
        }
    }

    /// The bytes of `elements` elements, if they are whole blocks.
    pub fn bytes(self, elements: usize) -> Option<u64> {
        let (block, size) = self.block();
        elements.is_multiple_of(block).then(|| (elements / block) as u64 * size as u64)
    }

    /// The format of candle's floats of 32 and 16 bits.
    pub fn from_float(dtype: candle_core::DType) -> Option<Self> {
        [Format::F32, Format::Bf16, Format::F16].into_iter().find(|format| format.float() == Some(dtype))
    }

    /// The candle type with the same bits, for floats of 32 and 16 bits.
    pub fn float(self) -> Option<candle_core::DType> {
        match self {
            Format::F32 => Some(candle_core::DType::F32),
            Format::Bf16 => Some(candle_core::DType::BF16),
            Format::F16 => Some(candle_core::DType::F16),
            Format::F64 | Format::Blocks(_) | Format::FourBit(_) | Format::ByteRows => None,
        }
    }

    /// Widens `bytes`, whole blocks, to `out`.
    fn decode(self, bytes: &[u8], out: &mut [f32]) -> candle_core::Result<()> {
        match self {
            Format::F32 => bytemuck::cast_slice_mut(out).copy_from_slice(bytes),
            Format::F16 => bytemuck::cast_slice::<u8, f16>(bytes).convert_to_f32_slice(out),
            Format::Bf16 => {
                for (x, y) in bytes.chunks_exact(2).zip(out) {
                    *y = f32::from_bits(u32::from(u16::from_le_bytes([x[0], x[1]])) << 16);
                }
            }
            Format::F64 => {
                for (x, y) in bytemuck::cast_slice::<u8, f64>(bytes).iter().zip(out) {
                    *y = *x as f32;
                }
            }
            Format::Blocks(kind) => Blocks::gguf(kind, bytes)?.expand(Isa::best(), 0, out)?,
            Format::FourBit(_) | Format::ByteRows => candle_core::bail!("{self} is not expanded without its scales"),
        }
        Ok(())
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Format::F64 => f.write_str("f64"),
            Format::F32 => f.write_str("f32"),
            Format::Bf16 => f.write_str("bf16"),
            Format::F16 => f.write_str("f16"),
            Format::Blocks(kind) => write!(f, "{kind:?}"),
            Format::FourBit(kind) => write!(f, "{kind}"),
            Format::ByteRows => f.write_str("int8"),
        }
    }
}

/// In which order a file holds a matrix's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowOrder {
    /// In that of Hugging Face.
    Plain,
    /// In heads of so many rows, each with its two halves interleaved.
    Interleaved(usize),
    /// In blocks of so many rows, first all heads' first ones, then their second ones, then their third ones, where
    /// Hugging Face has the three of a head together.
    ByPart(usize),
    /// As columns: the file has the matrix transposed.
    Transposed,
}

/// A tensor in a file. A vector counts as a matrix of one column.
#[derive(Debug, Clone)]
pub struct Stored {
    pub(super) file: Arc<DataFile>,
    pub(super) offset: u64,
    pub(super) format: Format,
    pub(super) shape: Vec<usize>,
    pub(super) order: RowOrder,
    /// What the file has added to every value.
    pub(super) added: f32,
    /// What a quantised tensor is expanded with, where that is not in its blocks.
    pub(super) constants: Option<Arc<Constants>>,
}

/// Elements that are read at a time: what a core's cache holds beside their bytes.
const PIECE: usize = 1 << 16;

thread_local! {
    /// A piece's bytes (aligned for any type), and its elements.
    static SCRATCH: RefCell<(Vec<u64>, Vec<f32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

impl Stored {
    /// A tensor of codes, and what they are expanded with.
    pub(super) fn packed(raw: Raw, format: Format, shape: Vec<usize>, constants: Constants) -> Self {
        let constants = Some(Arc::new(constants));
        Self { file: raw.file, offset: raw.offset, format, shape, order: RowOrder::Plain, added: 0.0, constants }
    }

    /// The tensor's bytes, if they are plain numbers of a safetensors file.
    pub(super) fn as_raw(&self) -> Option<Raw> {
        let len = self.format.bytes(self.elements()).filter(|_| self.constants.is_none())?;
        Some(Raw {
            file: Arc::clone(&self.file),
            offset: self.offset,
            len,
            dtype: Dtype::U8,
            shape: self.shape.clone(),
        })
    }

    /// The same tensor with its bytes, as they are, in memory.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn in_memory(&self) -> Result<Self> {
        let constants = self.constants.as_ref().map(|constants| constants.in_memory(self.elements())).transpose()?;
        let file = Arc::new(self.file.part(self.offset, self.own_bytes())?);
        Ok(Self { file, offset: 0, constants: constants.map(Arc::new), ..self.clone() })
    }

    /// The transposed matrix, with the same numbers in the same format, in memory or in its file; none where its blocks
    /// or scales do not allow it.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn turned(&self) -> Result<Option<Self>> {
        let shape = vec![self.columns(), self.rows()];
        if self.order == RowOrder::Transposed {
            return Ok(Some(Self { order: RowOrder::Plain, shape, ..self.clone() }));
        }
        let bytes = match self.format {
            Format::F32 => self.turned_bytes::<f32>()?,
            Format::F16 => self.turned_bytes::<f16>()?,
            Format::Bf16 => self.turned_bytes::<half::bf16>()?,
            Format::F64 | Format::Blocks(_) | Format::FourBit(_) | Format::ByteRows => return Ok(None),
        };
        Ok(Some(Self { shape, order: RowOrder::Plain, added: 0.0, ..self.with_bytes(bytes) }))
    }

    fn turned_bytes<T: Element + bytemuck::Pod>(&self) -> Result<Vec<u8>> {
        let (rows, columns) = (self.rows(), self.columns());
        let mut values = vec![T::zeroed(); rows * columns];
        self.read_all(&mut values)?;
        let turned: Vec<T> = (0..values.len()).map(|i| values[i % rows * columns + i / rows]).collect();
        Ok(bytemuck::cast_slice(&turned).to_vec())
    }

    /// What [`Stored::in_memory`] holds: its bytes and its blocks' scales one after the other, and the rest without
    /// them.
    ///
    /// # Errors
    /// If it is not in memory.
    pub fn take_apart(&self) -> Result<(Self, Vec<u8>)> {
        let mut bytes = vec![0; self.own_bytes()];
        self.file.read_at(self.offset, &mut bytes)?;
        let mut rest = self.with_bytes(Vec::new());
        if let Some(constants) = &self.constants {
            let (without, scales) = constants.take_apart(self.elements())?;
            rest.constants = Some(Arc::new(without));
            bytes.extend(scales);
        }
        Ok((rest, bytes))
    }

    /// The tensor that was taken apart into this one and `bytes`.
    #[must_use]
    pub fn put_together(&self, bytes: &[u8]) -> Self {
        let (own, scales) = bytes.split_at(self.own_bytes());
        let mut whole = self.with_bytes(own.to_vec());
        whole.constants = self.constants.as_ref().map(|constants| Arc::new(constants.put_together(scales)));
        whole
    }

    /// The same tensor with other bytes.
    fn with_bytes(&self, bytes: Vec<u8>) -> Self {
        Self { file: Arc::new(DataFile::in_memory(self.path(), bytes)), offset: 0, ..self.clone() }
    }

    /// The bytes that it takes, scales included.
    pub fn bytes(&self) -> usize {
        self.own_bytes() + self.constants.as_ref().map_or(0, |constants| constants.bytes(self.elements()))
    }

    pub(super) fn own_bytes(&self) -> usize {
        let (block, size) = self.format.block();
        self.elements().div_ceil(block) * size
    }

    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The shape, in Hugging Face's order.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How its numbers are stored.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// The number of elements in a row.
    pub fn columns(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// Rows are read in multiples of this many: a head where the file orders its rows by heads. A vector of
    /// blocks, or a matrix that the file has transposed, is read whole.
    pub fn granule(&self) -> usize {
        match self.order {
            RowOrder::Interleaved(rows) | RowOrder::ByPart(rows) => rows,
            RowOrder::Transposed => self.rows().max(1),
            RowOrder::Plain if self.constants.is_none() && self.format.bytes(self.columns()).is_none() => {
                self.rows().max(1)
            }
            RowOrder::Plain => 1,
        }
    }

    /// How many rows make a piece of work of about `elements` elements, a multiple of the granule.
    pub fn rows_for(&self, elements: usize) -> usize {
        let granule = self.granule();
        (elements / (granule * self.columns()).max(1)).max(1) * granule
    }

    /// Reads all rows into `out`, with all threads.
    ///
    /// # Errors
    /// As [`Stored::read_rows`].
    pub fn read_all<T: Element>(&self, out: &mut [T]) -> Result<()> {
        self.expect(out.len() == self.rows() * self.columns(), out.len())?;
        let rows = self.rows_for(4 * PIECE);
        let step = (rows * self.columns()).max(1);
        out.par_chunks_mut(step).enumerate().try_for_each(|(i, part)| self.read_rows(i * rows, part))
    }

    /// Reads rows from `first` on, a multiple of the granule, into `out`, whole rows and a multiple of
    /// the granule. Types narrower than f32 are rounded once.
    ///
    /// # Errors
    /// If the rows are not the tensor's, or the file cannot be read.
    pub fn read_rows<T: Element>(&self, first: usize, out: &mut [T]) -> Result<()> {
        let columns = self.columns().max(1);
        let rows = out.len() / columns;
        let inside = first + rows <= self.rows() && out.len().is_multiple_of(columns);
        let granule = self.granule();
        self.expect(inside && first.is_multiple_of(granule) && rows.is_multiple_of(granule), out.len())?;
        let as_it_is = self.order == RowOrder::Plain && self.added == 0.0;
        if as_it_is && self.format.float() == Some(T::DTYPE) && cfg!(target_endian = "little") {
            let at = self.byte(first * columns)?;
            return self.file.read_at(at, bytemuck::cast_slice_mut(out));
        }
        let step = match self.order {
            RowOrder::Transposed => return self.read_columns(out),
            RowOrder::ByPart(head) => head,
            RowOrder::Plain | RowOrder::Interleaved(_) => self.rows_for(PIECE),
        };
        SCRATCH.with_borrow_mut(|(bytes, values)| {
            for (i, part) in out.chunks_mut(step * columns).enumerate() {
                let at = self.place(first + i * step) * columns;
                if let (RowOrder::Plain | RowOrder::ByPart(_), Some(part)) = (self.order, T::as_f32(part)) {
                    self.read_piece(at, bytes, part)?;
                    continue;
                }
                values.resize(values.len().max(part.len()), 0.0);
                let piece = &mut values[..part.len()];
                self.read_piece(at, bytes, piece)?;
                match self.order {
                    RowOrder::Interleaved(head) => deinterleave(piece, part, head, columns),
                    _ => T::narrow(piece, part),
                }
            }
            Ok(())
        })
    }

    /// Where in the file the rows are whose first one is number `row` here.
    pub(super) fn place(&self, row: usize) -> usize {
        let RowOrder::ByPart(head) = self.order else { return row };
        let (block, heads) = (row / head, self.rows() / (3 * head));
        (block % 3 * heads + block / 3) * head
    }

    /// Reads a whole matrix that the file has transposed. Some of its columns are taken at a time.
    fn read_columns<T: Element>(&self, out: &mut [T]) -> Result<()> {
        const TOGETHER: usize = 16;
        let (rows, columns) = (self.rows(), self.columns());
        SCRATCH.with_borrow_mut(|(bytes, values)| {
            let mut line = [0.0; TOGETHER];
            for first in (0..columns).step_by(TOGETHER) {
                let count = TOGETHER.min(columns - first);
                values.resize(values.len().max(count * rows), 0.0);
                let piece = &mut values[..count * rows];
                self.read_piece(first * rows, bytes, piece)?;
                for (row, to) in out.chunks_exact_mut(columns).enumerate() {
                    for (value, column) in line.iter_mut().zip(piece.chunks_exact(rows)) {
                        *value = column[row];
                    }
                    T::narrow(&line[..count], &mut to[first..first + count]);
                }
            }
            Ok(())
        })
    }

    /// Reads the elements from number `at` on, in the file's order.
    fn read_piece(&self, at: usize, scratch: &mut Vec<u64>, out: &mut [f32]) -> Result<()> {
        if let Some(constants) = &self.constants {
            return constants.read(&self.file, self.offset, self.columns().max(1), at, out);
        }
        let start = self.byte(at)?;
        let len = (self.byte(at + out.len())? - start) as usize;
        scratch.resize(scratch.len().max(len.div_ceil(8)), 0);
        let bytes = &mut bytemuck::cast_slice_mut::<u64, u8>(scratch)[..len];
        self.file.read_at(start, bytes)?;
        self.format.decode(bytes, out)?;
        if self.added != 0.0 {
            out.iter_mut().for_each(|x| *x -= self.added);
        }
        Ok(())
    }

    /// Where the element number `at` begins in the file.
    fn byte(&self, at: usize) -> Result<u64> {
        let bytes = self.format.bytes(at).ok_or_else(|| self.wrong(at))?;
        Ok(self.offset + bytes)
    }

    fn expect(&self, condition: bool, len: usize) -> Result<()> {
        if condition { Ok(()) } else { Err(self.wrong(len)) }
    }

    /// A caller asks for what is not there: a fault in this program, told as an error all the same.
    fn wrong(&self, len: usize) -> Error {
        let (path, shape) = (self.path(), &self.shape);
        Error::malformed(path, format!("{len} elements were asked for of a tensor of shape {shape:?}"))
    }
}

/// From heads of `head` rows with their two halves interleaved to heads with one half after the other.
fn deinterleave<T: Element>(from: &[f32], to: &mut [T], head: usize, columns: usize) {
    for (from, to) in from.chunks_exact(head * columns).zip(to.chunks_exact_mut(head * columns)) {
        for (row, values) in from.chunks_exact(columns).enumerate() {
            let place = row % 2 * (head / 2) + row / 2;
            T::narrow(values, &mut to[place * columns..][..columns]);
        }
    }
}
