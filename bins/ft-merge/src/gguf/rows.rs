//! Some rows of a part of a tensor, as the file has them.

use anyhow::{Result, bail};
use candle_core::quantized::GgmlDType;
use ft_kernels::quant::encode_blocks;
use ft_model::checkpoint::{Format, Stored};
use ft_model::export::GgufPart;
use half::{bf16, f16};

use crate::merge::{Change, Merged, Number, Scratch};

/// Buffers that are used again.
#[derive(Default)]
pub struct Buffers {
    scratch: Scratch,
    wide: Vec<f32>,
    f16s: Vec<f16>,
    bf16s: Vec<bf16>,
    blocks: Vec<u8>,
    ordered: Vec<u8>,
}

/// Rows of the model from `first` on, and where the part that they belong to begins in the file.
pub struct Rows<'a> {
    pub merged: Merged<'a>,
    pub part: &'a GgufPart,
    pub format: Format,
    pub first: usize,
    pub count: usize,
    pub offset: u64,
}

/// How many rows make a piece of about `elements` elements, such that no other piece writes between them.
pub fn rows_for(stored: &Stored, part: &GgufPart, elements: usize) -> usize {
    let (one, other) = (stored.granule().max(1), part.granule().max(1));
    let both = if one.is_multiple_of(other) {
        one
    } else if other.is_multiple_of(one) {
        other
    } else {
        one * other
    };
    (elements / (both * stored.columns()).max(1)).max(1) * both
}

impl Rows<'_> {
    /// Computes the rows and gives them to `write`, each run of bytes with its place in the file.
    pub fn write(&self, buffers: &mut Buffers, mut write: impl FnMut(&[u8], u64) -> Result<()>) -> Result<Change> {
        let Buffers { scratch, wide, f16s, bf16s, blocks, ordered } = buffers;
        let change = match self.format {
            Format::F16 => self.numbers(f16s, scratch)?,
            Format::Bf16 => self.numbers(bf16s, scratch)?,
            _ => self.numbers(wide, scratch)?,
        };
        let bytes: &[u8] = match self.format {
            Format::F16 => bytemuck::cast_slice(f16s),
            Format::Bf16 => bytemuck::cast_slice(bf16s),
            Format::Blocks(kind) => {
                self.encode(kind, wide, blocks)?;
                blocks
            }
            _ => bytemuck::cast_slice(wide),
        };
        let (rows, first) = if self.part.is_transposed() { (self.part.rows, 0) } else { (self.count, self.first) };
        let size = bytes.len() / rows.max(1);
        let mut order: Vec<(usize, usize)> = (0..rows).map(|i| (self.part.file_row(first + i), i)).collect();
        if order.is_sorted_by(|a, b| a.0 + 1 == b.0) {
            write(bytes, self.offset + (order.first().map_or(0, |row| row.0) * size) as u64)?;
            return Ok(change);
        }
        order.sort_unstable();
        ordered.clear();
        order.iter().for_each(|(_, from)| ordered.extend_from_slice(&bytes[from * size..][..size]));
        let mut done = 0;
        for run in order.chunk_by(|a, b| a.0 + 1 == b.0) {
            write(&ordered[done..][..run.len() * size], self.offset + (run[0].0 * size) as u64)?;
            done += run.len() * size;
        }
        Ok(change)
    }

    /// The rows as numbers of the type `T`, one after the other, as the file has them but for their order.
    fn numbers<T: Number>(&self, out: &mut Vec<T>, scratch: &mut Scratch) -> Result<Change> {
        out.resize(self.count * self.merged.base.columns(), T::ZERO);
        let change = self.merged.rows(self.first, out, scratch)?;
        if self.part.added != 0.0
            && let Some(values) = T::as_f32(out)
        {
            values.iter_mut().for_each(|x| *x += self.part.added);
        }
        if self.part.is_transposed() {
            // The file's rows are the model's columns.
            let (rows, columns) = (self.part.rows, self.part.columns);
            *out = (0..rows * columns).map(|i| out[i % columns * rows + i / columns]).collect();
        }
        Ok(change)
    }

    /// Makes blocks of `values`.
    fn encode(&self, kind: GgmlDType, values: &[f32], bytes: &mut Vec<u8>) -> Result<()> {
        if let Some(found) = values.iter().find(|x| !x.is_finite()) {
            let name = &self.part.from;
            bail!(
                "the tensor '{name}' holds {found} among its numbers, of which no blocks are made; look into the model"
            );
        }
        bytes.resize(values.len() / kind.block_size() * kind.type_size(), 0);
        Ok(encode_blocks(kind, values, bytes)?)
    }
}
