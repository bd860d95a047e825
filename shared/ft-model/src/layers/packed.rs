//! One projection's matrix in few bits, in memory or taken apart for its bytes to lie elsewhere.

use candle_core::Device;
use ft_kernels::quant::{Absmax, EightBit, FourBit, Kind, Nested, Placed, Run, Second};

use super::matrices::{is_router, is_transposed, transpose};
use super::weight_format::PackedFormat;
use crate::checkpoint::{Checkpoint, Format, Stored};
use crate::error::Result;

/// A packed matrix.
#[derive(Debug)]
pub(super) enum Packed {
    Eight(EightBit),
    Four(FourBit),
    /// The file's bytes, and whether they are the matrix `[in, out]`.
    Stored(Stored, bool),
}

/// A packed matrix without its bytes: what else is needed to expand them.
#[derive(Debug)]
pub(super) enum Form {
    Eight {
        len: usize,
    },
    Four {
        kind: Kind,
        block: usize,
        len: usize,
        /// Where the blocks' scales have 8 bits.
        second: Option<Second>,
    },
    /// A stored tensor whose bytes are left out.
    Stored(Stored, bool),
}

impl Packed {
    /// Reads the tensor `name`.
    pub fn read(checkpoint: &Checkpoint, name: &str, bits: PackedFormat) -> Result<Self> {
        let stored = checkpoint.stored(name)?;
        let transposed = is_transposed(checkpoint.architecture(), name);
        let packed_already = matches!(stored.format(), Format::FourBit(_) | Format::ByteRows);
        if packed_already || bits == PackedFormat::AsIs || is_router(checkpoint.architecture(), name) {
            // Turned once, where that is only another order of the same numbers: its rows can then be had one by one.
            let turned = if transposed { stored.turned()? } else { None };
            return match turned {
                Some(turned) => Ok(Self::Stored(turned.in_memory()?, false)),
                None => Ok(Self::Stored(stored.in_memory()?, transposed)),
            };
        }
        let mut values = vec![0.0; stored.elements()];
        stored.read_all(&mut values)?;
        if transposed {
            transpose(&mut values, stored.columns());
        }
        Ok(match bits {
            PackedFormat::FourBit { kind, double } => Self::Four(FourBit::quantise(&values, kind, double)),
            PackedFormat::EightBit | PackedFormat::AsIs => Self::Eight(EightBit::quantise(&values)),
        })
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Packed::Eight(matrix) => matrix.len(),
            Packed::Four(matrix) => matrix.len(),
            Packed::Stored(stored, _) => stored.elements(),
        }
    }

    /// The bytes that it takes, scales included.
    pub fn bytes(&self) -> usize {
        match self {
            Packed::Eight(matrix) => matrix.bytes(),
            Packed::Four(matrix) => matrix.bytes(),
            Packed::Stored(stored, _) => stored.bytes(),
        }
    }

    /// Rows of `columns` elements are had in multiples of this many.
    pub fn granule(&self, columns: usize) -> usize {
        match self {
            Packed::Eight(_) | Packed::Four(_) => 1,
            Packed::Stored(stored, false) => stored.granule(),
            Packed::Stored(stored, true) => (stored.elements() / columns.max(1)).max(1),
        }
    }

    /// Row `row` of `columns` elements and the rows after it that lie evenly apart, where they are blocks in memory: a
    /// matrix that its file has `[in, out]`, in blocks, is not.
    pub fn run(&self, row: usize, columns: usize) -> Option<Run<'_>> {
        let blocks = match self {
            Packed::Eight(matrix) => matrix.blocks(),
            Packed::Four(matrix) => matrix.blocks(),
            Packed::Stored(stored, false) => return stored.run(row),
            Packed::Stored(_, true) => return None,
        };
        Some(Run { blocks, start: row * columns, stride: columns, count: self.len() / columns.max(1) - row })
    }

    /// Writes the rows of `columns` elements from `first` on to `out`, on this thread; both are multiples of the granule.
    pub fn expand_rows(&self, first: usize, columns: usize, out: &mut [f32]) -> Result<()> {
        match self {
            Packed::Eight(matrix) => matrix.expand_part(first * columns, out)?,
            Packed::Four(matrix) => matrix.expand_part(first * columns, out)?,
            Packed::Stored(stored, false) => stored.read_rows(first, out)?,
            Packed::Stored(stored, true) => {
                stored.read_rows(0, out)?;
                transpose(out, stored.columns());
            }
        }
        Ok(())
    }

    /// A copy on a device, where a kernel makes numbers of its rows; none where there is no such kernel.
    pub fn placed(&self, device: &Device) -> candle_core::Result<Option<Placed>> {
        Ok(match self {
            Packed::Eight(matrix) => Some(Placed::eight(matrix, device)?),
            Packed::Four(matrix) => Some(Placed::four(matrix, device)?),
            Packed::Stored(..) => None,
        })
    }

    /// Its codes and its blocks' scales, one after the other, and what is left without them.
    pub fn take_apart(self) -> Result<(Form, Vec<u8>)> {
        Ok(match self {
            Packed::Eight(matrix) => (Form::Eight { len: matrix.len() }, matrix.as_bytes().to_vec()),
            Packed::Four(matrix) => {
                let mut bytes = matrix.packed().to_vec();
                let second = match matrix.absmax() {
                    Absmax::Plain(values) => {
                        bytes.extend_from_slice(bytemuck::cast_slice(values));
                        None
                    }
                    Absmax::Nested(nested) => {
                        bytes.extend_from_slice(nested.codes());
                        Some(nested.second().clone())
                    }
                };
                (Form::Four { kind: matrix.kind(), block: matrix.block(), len: matrix.len(), second }, bytes)
            }
            Packed::Stored(stored, transposed) => {
                let (rest, bytes) = stored.take_apart()?;
                (Form::Stored(rest, transposed), bytes)
            }
        })
    }
}

impl Form {
    /// The bytes that it takes itself.
    pub fn bytes(&self) -> usize {
        match self {
            Form::Four { second: Some(second), .. } => second.bytes(),
            Form::Eight { .. } | Form::Four { .. } | Form::Stored(..) => 0,
        }
    }

    /// The matrix with its bytes, which [`Packed::take_apart`] gave.
    pub fn put_together(&self, bytes: &[u8]) -> Result<Packed> {
        Ok(match self {
            Form::Eight { len } => Packed::Eight(EightBit::from_bytes(bytes, *len)?),
            Form::Four { kind, block, len, second } => {
                let (codes, scales) = bytes.split_at(len.div_ceil(2));
                let absmax = match second {
                    Some(second) => Absmax::Nested(Nested::from_parts(scales.to_vec(), second.clone())?),
                    None => Absmax::Plain(collected(scales)),
                };
                Packed::Four(FourBit::from_parts(*kind, *block, codes.to_vec(), absmax, *len)?)
            }
            Form::Stored(stored, transposed) => Packed::Stored(stored.put_together(bytes), *transposed),
        })
    }
}

/// Bytes as the numbers that they are, wherever they lie.
pub(super) fn collected<T: bytemuck::Pod>(bytes: &[u8]) -> Vec<T> {
    let mut values = vec![T::zeroed(); bytes.len() / size_of::<T>()];
    bytemuck::cast_slice_mut(&mut values).copy_from_slice(bytes);
    values
}
