//! A matrix of the vocabulary, to be looked up in or multiplied with: numbers, or a file's blocks.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use ft_kernels::backend::{Compute, Isa, is_host};
use ft_kernels::linear::{
    RowSource, expand_all, product, product_by_rows, product_few, product_few_by_rows, rows_at_once,
};

use super::load::joined;
use super::sharded::Held;
use super::{Bits, tensor_bytes};
use crate::checkpoint::{Checkpoint, Format, Stored};
use crate::error::Result;

/// Embedding or head, `[vocabulary, hidden]`.
#[derive(Debug, Clone)]
pub enum Table {
    /// Numbers of any float type, on any device.
    Float(Tensor),
    /// A file's own blocks in the host's memory. What is computed is what their numbers in f32 would give, bit by bit:
    /// a look-up expands the rows that are asked for, a product some thousand rows at a time.
    Blocks(Arc<Stored>),
}

/// How a matrix of the vocabulary is held where the layers are held in few bits: as the file has it. What the file has in
/// no type to compute with, and not in blocks of whole rows either, is widened to f32.
pub(super) fn held(stored: &Stored) -> Held {
    match stored.format().float() {
        Some(dtype) => Held::Float(dtype),
        None if is_blocks(stored) => Held::Packed(Bits::AsIs),
        None => Held::Float(DType::F32),
    }
}

/// Blocks of whole rows, in the order of Hugging Face.
fn is_blocks(stored: &Stored) -> bool {
    matches!(stored.format(), Format::Blocks(_)) && stored.granule() == 1
}

impl Table {
    /// Reads the tensor `name` as the file has it.
    pub(super) fn read(checkpoint: &Checkpoint, name: &str) -> Result<Self> {
        let stored = checkpoint.stored(name)?;
        Ok(match held(stored) {
            Held::Float(dtype) => Self::Float(joined(checkpoint, &[name.to_owned()], dtype)?),
            Held::Packed(_) => Self::Blocks(Arc::new(stored.in_memory()?)),
        })
    }

    /// The rows of these tokens, `[tokens, hidden]` in f32, where the matrix lies.
    ///
    /// # Errors
    /// If a token lies outside the matrix, or the device has no room.
    pub fn look_up(&self, ids: &[u32]) -> Result<Tensor> {
        match self {
            Self::Float(table) => {
                let ids = Tensor::new(ids, table.device())?;
                Ok(table.index_select(&ids, 0)?.to_dtype(DType::F32)?)
            }
            Self::Blocks(stored) => {
                let columns = stored.columns();
                // Every element is written, or a row cannot be had and the buffer is dropped.
                let mut rows = ft_kernels::tensor::uninit(ids.len() * columns);
                for (&id, row) in ids.iter().zip(rows.chunks_exact_mut(columns)) {
                    stored.read_rows(id as usize, row)?;
                }
                Ok(Tensor::from_vec(rows, (ids.len(), columns), &Device::Cpu)?)
            }
        }
    }

    /// `x·Wᵀ` of rows `x`, `[rows, hidden]`: `[rows, vocabulary]`.
    ///
    /// # Errors
    /// If the operator fails.
    pub fn logits(&self, compute: Compute, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Float(table) => product(compute, x, table, false)?,
            Self::Blocks(stored) => product_by_rows(compute, x, &Expanded(stored), false)?,
        })
    }

    /// [`Table::logits`] of a few rows, as a step of generation has them.
    ///
    /// # Errors
    /// As [`Table::logits`].
    pub fn logits_of_few(&self, compute: Compute, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Float(table) => product_few(compute, x, table)?,
            Self::Blocks(stored) => product_few_by_rows(compute, x, &Expanded(stored))?,
        })
    }

    /// `dy·W`: the gradient of [`Table::logits`]' rows, `[rows, hidden]`, from that of its result.
    ///
    /// # Errors
    /// As [`Table::logits`].
    pub fn input_gradient(&self, compute: Compute, dy: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Float(table) => product(compute, dy, table, true)?,
            Self::Blocks(stored) => product_by_rows(compute, dy, &Expanded(stored), true)?,
        })
    }

    /// The matrix, where it is numbers already.
    pub fn as_float(&self) -> Option<&Tensor> {
        match self {
            Self::Float(table) => Some(table),
            Self::Blocks(_) => None,
        }
    }

    /// The whole matrix as numbers: blocks in f32.
    ///
    /// # Errors
    /// If it cannot be expanded.
    pub fn widened(&self) -> Result<Tensor> {
        match self {
            Self::Float(table) => Ok(table.clone()),
            Self::Blocks(stored) => Ok(expand_all(Isa::best(), &Expanded(stored))?),
        }
    }

    /// The matrix on a device: the host's blocks become f32 there.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        match self {
            Self::Blocks(_) if is_host(device) => Ok(self.clone()),
            _ => Ok(Self::Float(self.widened()?.to_device(device)?)),
        }
    }

    /// Where it lies.
    pub fn device(&self) -> &Device {
        match self {
            Self::Float(table) => table.device(),
            Self::Blocks(_) => &Device::Cpu,
        }
    }

    /// Whether both are the same memory.
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(x), Self::Float(y)) => x.id() == y.id(),
            (Self::Blocks(x), Self::Blocks(y)) => Arc::ptr_eq(x, y),
            _ => false,
        }
    }

    /// The bytes that it takes.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Float(table) => tensor_bytes(table),
            Self::Blocks(stored) => stored.bytes() as u64,
        }
    }
}

/// Blocks as rows of numbers.
struct Expanded<'a>(&'a Stored);

impl RowSource for Expanded<'_> {
    fn rows(&self) -> usize {
        self.0.rows()
    }

    fn columns(&self) -> usize {
        self.0.columns()
    }

    fn expand(&self, _: Isa, first: usize, out: &mut [f32]) -> candle_core::Result<()> {
        self.0.read_rows(first, out).map_err(candle_core::Error::wrap)
    }
}

/// The bytes of a model's matrices of the vocabulary, where the layers are held in few bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableBytes {
    pub embedding: usize,
    /// None where it is the embedding.
    pub head: Option<usize>,
    /// Those of the rows that are expanded at a time.
    pub expanded: usize,
    /// The type of the matrices that are in no few bits: the embedding's, or f32 where that is in blocks.
    pub main: DType,
}

impl TableBytes {
    /// As the checkpoint's file has them.
    ///
    /// # Errors
    /// If a tensor is missing.
    pub fn of(checkpoint: &Checkpoint) -> Result<Self> {
        let (arch, names) = (checkpoint.architecture(), checkpoint.architecture().names());
        let mut expanded = 0;
        let mut bytes = |name: &str| -> Result<usize> {
            let stored = checkpoint.stored(&format!("{name}.weight"))?;
            Ok(match held(stored) {
                Held::Float(dtype) => stored.elements() * dtype.size_in_bytes(),
                Held::Packed(_) => {
                    let rows = rows_at_once(stored.rows(), stored.columns()).min(stored.rows());
                    expanded = expanded.max(rows * stored.columns() * size_of::<f32>());
                    stored.bytes()
                }
            })
        };
        let embedding = bytes(names.embedding)?;
        let head = (!arch.tie_word_embeddings).then(|| bytes(names.head)).transpose()?;
        let main = checkpoint.main_dtype()?.float().unwrap_or(DType::F32);
        Ok(Self { embedding, head, expanded, main })
    }

    /// Of a model of which no file is at hand, with both in this type.
    pub fn float(arch: &crate::Architecture, dtype: DType) -> Self {
        let embedding = arch.vocab_size * arch.hidden_size * dtype.size_in_bytes();
        Self { embedding, head: (!arch.tie_word_embeddings).then_some(embedding), expanded: 0, main: dtype }
    }
}
