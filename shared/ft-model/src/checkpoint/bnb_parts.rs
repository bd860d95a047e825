//! The parts of a tensor that bitsandbytes quantised: its bytes, and what they are expanded with.

use std::sync::Arc;

use ::safetensors::Dtype;
use ft_kernels::backend::Isa;
use ft_kernels::quant::{Blocks, Kind, Scales, Second};

use super::file::DataFile;
use crate::error::Result;

/// Bytes in a file that are no numbers by themselves.
#[derive(Debug, Clone)]
pub(super) struct Raw {
    pub file: Arc<DataFile>,
    pub offset: u64,
    pub len: u64,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
}

impl Raw {
    pub(super) fn read(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.len as usize];
        self.file.read_at(self.offset, &mut bytes)?;
        Ok(bytes)
    }
}

/// What the bytes of a quantised tensor are expanded with.
#[derive(Debug)]
pub(super) enum Constants {
    /// Four bits an element.
    Four {
        kind: Kind,
        /// Elements that share a scale.
        block: usize,
        /// Where the scales begin: f32, or codes if there is a second quantisation.
        absmax: (Arc<DataFile>, u64),
        second: Option<Second>,
    },
    /// A byte an element and a scale a row.
    Rows { scales: Vec<f32> },
}

impl Constants {
    /// Reads elements of a tensor whose bytes begin at `offset` of `file`, from number `at` on; it has `columns` columns.
    pub(super) fn read(&self, file: &DataFile, offset: u64, columns: usize, at: usize, out: &mut [f32]) -> Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        let end = at + out.len();
        match self {
            Constants::Four { kind, block, .. } => {
                let (first, last) = (at / block, end.div_ceil(*block));
                let mut packed = vec![0; end.div_ceil(2) - first * block / 2];
                file.read_at(offset + (first * block / 2) as u64, &mut packed)?;
                let scales = self.scales(first, last - first)?;
                let scales = Scales::Plain(&scales);
                let blocks = Blocks::Four { kind: *kind, block: *block, packed: &packed, scales };
                Ok(blocks.expand(Isa::best(), at - first * block, out)?)
            }
            Constants::Rows { scales } => {
                let first = at / columns;
                let mut codes = vec![0; end.div_ceil(columns) * columns - first * columns];
                let skip = at - first * columns;
                let known = skip..skip + out.len();
                file.read_at(offset + at as u64, &mut codes[known])?;
                let blocks = Blocks::Bytes { codes: &codes, scales: &scales[first..], columns };
                let mut done = 0;
                while done < out.len() {
                    let (at, row_ends) = (skip + done, ((skip + done) / columns + 1) * columns);
                    let n = (row_ends - at).min(out.len() - done);
                    blocks.expand(Isa::best(), at, &mut out[done..done + n])?;
                    done += n;
                }
                Ok(())
            }
        }
    }

    /// A tensor of `len` elements in rows of `columns` whose codes are `packed`, if the scales lie in memory.
    pub(super) fn blocks<'a>(&'a self, packed: &'a [u8], len: usize, columns: usize) -> Option<Blocks<'a>> {
        Some(match self {
            Constants::Four { kind, block, absmax: (file, offset), second } => {
                let blocks = len.div_ceil(*block);
                let scales = match second {
                    None => Scales::Stored(file.bytes(*offset, 4 * blocks)?.as_chunks().0),
                    Some(second) => Scales::Nested { codes: file.bytes(*offset, blocks)?, second },
                };
                Blocks::Four { kind: *kind, block: *block, packed, scales }
            }
            Constants::Rows { scales } => Blocks::Bytes { codes: packed, scales, columns },
        })
    }

    /// The scales of `count` four-bit blocks from number `first` on.
    fn scales(&self, first: usize, count: usize) -> Result<Vec<f32>> {
        let mut scales = vec![0.0; count];
        match self {
            Constants::Four { absmax: (file, offset), second: None, .. } => {
                file.read_at(offset + 4 * first as u64, bytemuck::cast_slice_mut(&mut scales))?;
            }
            Constants::Four { absmax: (file, offset), second: Some(second), .. } => {
                let mut codes = vec![0; count];
                file.read_at(offset + first as u64, &mut codes)?;
                second.expand(first, &codes, &mut scales)?;
            }
            Constants::Rows { .. } => {}
        }
        Ok(scales)
    }

    /// The same constants with what was left in the file in memory, for a tensor of `len` elements.
    pub(super) fn in_memory(&self, len: usize) -> Result<Self> {
        Ok(match self {
            Constants::Four { kind, block, absmax: (file, offset), second } => {
                let bytes = len.div_ceil(*block) * if second.is_some() { 1 } else { 4 };
                let absmax = (Arc::new(file.part(*offset, bytes)?), 0);
                Constants::Four { kind: *kind, block: *block, absmax, second: second.clone() }
            }
            Constants::Rows { scales } => Constants::Rows { scales: scales.clone() },
        })
    }

    /// The blocks' scales as they lie in the file, and the constants without them; rows' scales stay.
    pub(super) fn take_apart(&self, len: usize) -> Result<(Self, Vec<u8>)> {
        let Constants::Four { block, absmax: (file, offset), second, .. } = self else {
            return Ok((self.put_together(&[]), Vec::new()));
        };
        let mut scales = vec![0; len.div_ceil(*block) * if second.is_some() { 1 } else { 4 }];
        file.read_at(*offset, &mut scales)?;
        Ok((self.put_together(&[]), scales))
    }

    /// The same constants with these blocks' scales.
    pub(super) fn put_together(&self, bytes: &[u8]) -> Self {
        match self {
            Constants::Four { kind, block, absmax: (file, _), second } => {
                let absmax = (Arc::new(DataFile::in_memory(file.path(), bytes.to_vec())), 0);
                Constants::Four { kind: *kind, block: *block, absmax, second: second.clone() }
            }
            Constants::Rows { scales } => Constants::Rows { scales: scales.clone() },
        }
    }

    /// The bytes that they take.
    pub(super) fn bytes(&self, len: usize) -> usize {
        match self {
            Constants::Four { block, second: None, .. } => 4 * len.div_ceil(*block),
            Constants::Four { block, second: Some(second), .. } => len.div_ceil(*block) + 4 * second.scales.len() + 4,
            Constants::Rows { scales } => 4 * scales.len(),
        }
    }
}
