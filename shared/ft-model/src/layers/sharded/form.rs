//! What turns gathered bytes into a matrix.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use ft_kernels::linear::Weight;
use half::{bf16, f16};

use crate::error::{Error, Result};
use crate::layers::packed::{Form, collected};
use crate::layers::packed_matrix::PackedMatrix;

/// A product's matrix without its bytes: some tensors laid below each other.
#[derive(Debug, Default)]
pub(super) struct MatrixForm {
    /// The tensors' names, as long as they are not read yet.
    pub names: Vec<String>,
    pub parts: Vec<PartForm>,
    /// `[out, in]` of all together.
    pub shape: Vec<usize>,
}

/// One of the tensors, and its bytes.
#[derive(Debug)]
pub(super) struct PartForm {
    pub kind: PartKind,
    pub bytes: usize,
}

#[derive(Debug)]
pub(super) enum PartKind {
    /// Plain numbers.
    Float(DType),
    Packed(Form),
}

impl MatrixForm {
    /// The bytes that lie on every rank: what scales are expanded with.
    pub fn small_bytes(&self) -> u64 {
        let of = |part: &PartForm| match &part.kind {
            PartKind::Float(_) => 0,
            PartKind::Packed(form) => form.bytes() as u64,
        };
        self.parts.iter().map(of).sum()
    }

    /// Takes the matrix's bytes off the front of `bytes` and makes it.
    pub fn take(&self, bytes: &mut &[u8]) -> Result<Weight> {
        let all: usize = self.parts.iter().map(|part| part.bytes).sum();
        let (own, rest) = bytes.split_at(all);
        *bytes = rest;
        match self.parts.first().map(|part| &part.kind) {
            Some(PartKind::Float(dtype)) => Ok(self.floats(own, *dtype)?.into()),
            _ => self.packed(own),
        }
    }

    fn floats(&self, bytes: &[u8], dtype: DType) -> Result<Tensor> {
        let shape = self.shape.as_slice();
        Ok(match dtype {
            DType::F32 => {
                // Every element is written.
                let mut values = vec![0.0; bytes.len() / size_of::<f32>()];
                ft_kernels::memory::prefer_large_pages(&values);
                bytemuck::cast_slice_mut::<f32, u8>(&mut values).copy_from_slice(bytes);
                Tensor::from_vec(values, shape, &Device::Cpu)?
            }
            DType::BF16 => Tensor::from_vec(collected::<bf16>(bytes), shape, &Device::Cpu)?,
            DType::F16 => Tensor::from_vec(collected::<f16>(bytes), shape, &Device::Cpu)?,
            other => return Err(Error::FrozenType(other)),
        })
    }

    /// What expands to the matrix.
    fn packed(&self, mut bytes: &[u8]) -> Result<Weight> {
        let mut parts = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let PartKind::Packed(form) = &part.kind else { continue };
            let (own, after) = bytes.split_at(part.bytes);
            bytes = after;
            parts.push(form.put_together(own)?);
        }
        Ok(Weight::of_rows(Arc::new(PackedMatrix::new(parts, self.shape.get(1).copied().unwrap_or(1)))))
    }
}
