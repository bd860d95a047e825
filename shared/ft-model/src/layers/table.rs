//! How the matrices of the vocabulary are held where the layers are held in few bits, and what they take.

use std::sync::Arc;

use candle_core::DType;

use super::matrices::joined;
use super::packed::Packed;
use super::packed_matrix::PackedMatrix;
use super::weight_format::{PackedFormat, WeightFormat};
use crate::checkpoint::{Checkpoint, Format, Stored};
use crate::error::Result;
use ft_kernels::linear::Weight;

/// How a matrix of the vocabulary is held where the layers are held in few bits: as the file has it. What the file has in
/// no type to compute with, and not in blocks of whole rows either, is widened to f32.
pub(super) fn held(stored: &Stored) -> WeightFormat {
    match stored.format().float() {
        Some(dtype) => WeightFormat::Float(dtype),
        None if is_blocks(stored) => WeightFormat::Packed(PackedFormat::AsIs),
        None => WeightFormat::Float(DType::F32),
    }
}

/// Blocks of whole rows, in the order of Hugging Face.
fn is_blocks(stored: &Stored) -> bool {
    matches!(stored.format(), Format::Blocks(_)) && stored.granule() == 1
}

/// Reads the tensor `name` as the file has it: in blocks of whole rows, what is computed is what their numbers in f32
/// would give, bit by bit.
pub(super) fn read(checkpoint: &Checkpoint, name: &str) -> Result<Weight> {
    let stored = checkpoint.stored(name)?;
    Ok(match held(stored) {
        WeightFormat::Float(dtype) => joined(checkpoint, &[name.to_owned()], dtype)?.into(),
        WeightFormat::Packed(_) => {
            let part = Packed::Stored(stored.in_memory()?, false);
            Weight::of_rows(Arc::new(PackedMatrix::new(vec![part], stored.columns())))
        }
    })
}

/// The bytes of a model's matrices of the vocabulary, where the layers are held in few bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableBytes {
    pub embedding: usize,
    /// None where it is the embedding.
    pub head: Option<usize>,
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
        let bytes = |name: &str| -> Result<usize> {
            let stored = checkpoint.stored(&format!("{name}.weight"))?;
            Ok(match held(stored) {
                WeightFormat::Float(dtype) => stored.elements() * dtype.size_in_bytes(),
                WeightFormat::Packed(_) => stored.bytes(),
            })
        };
        let embedding = bytes(names.embedding)?;
        let head = (!arch.tie_word_embeddings).then(|| bytes(names.head)).transpose()?;
        let main = checkpoint.main_dtype()?.float().unwrap_or(DType::F32);
        Ok(Self { embedding, head, main })
    }

    /// Of a model of which no file is at hand, with both in this type.
    pub fn float(arch: &crate::Architecture, dtype: DType) -> Self {
        let embedding = arch.vocab_size * arch.hidden_size * dtype.size_in_bytes();
        Self { embedding, head: (!arch.tie_word_embeddings).then_some(embedding), main: dtype }
    }
}
