//! A checkpoint's tensors below each other, as matrices to compute with.

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};

use crate::arch::Architecture;
use crate::checkpoint::{Checkpoint, Element};
use crate::error::{Error, Result};

/// The shape of the named tensors below each other, `[out, in]` for matrices.
pub(super) fn joined_shape(checkpoint: &Checkpoint, names: &[String]) -> Result<Vec<usize>> {
    let arch = checkpoint.architecture();
    let mut shape: Vec<usize> = Vec::new();
    for name in names {
        let mut part = checkpoint.shape(name)?.to_vec();
        if is_transposed(arch, name) {
            part.reverse();
        }
        match shape.first_mut() {
            Some(rows) => *rows += part.first().copied().unwrap_or(1),
            None => shape = part,
        }
    }
    Ok(shape)
}

/// Whether this matrix chooses experts.
pub(super) fn is_router(arch: &Architecture, name: &str) -> bool {
    let part = name.strip_prefix(arch.names().layers).and_then(|rest| rest.strip_prefix('.')?.split_once('.'));
    part.and_then(|(_, part)| part.strip_suffix(".weight")).is_some_and(|path| arch.is_router(path))
}

/// Whether the checkpoint stores this matrix `[in, out]`.
pub(super) fn is_transposed(arch: &Architecture, name: &str) -> bool {
    let module = name.strip_suffix(".weight");
    arch.family.is_transposed()
        && module.is_some_and(|m| crate::projection::Projection::parse_in(arch.family, m).is_some())
}

/// The named tensors below each other, as one tensor of type `dtype`.
pub(super) fn joined(checkpoint: &Checkpoint, names: &[String], dtype: DType) -> Result<Tensor> {
    let shape = joined_shape(checkpoint, names)?;
    let len: usize = shape.iter().product();
    Ok(match dtype {
        DType::F32 => Tensor::from_vec(read(checkpoint, names, vec![0f32; len])?, shape, &Device::Cpu)?,
        DType::BF16 => Tensor::from_vec(read(checkpoint, names, vec![bf16::ZERO; len])?, shape, &Device::Cpu)?,
        DType::F16 => Tensor::from_vec(read(checkpoint, names, vec![f16::ZERO; len])?, shape, &Device::Cpu)?,
        other => return Err(Error::FrozenType(other)),
    })
}

/// Fills `out` with the named tensors, one after the other.
fn read<T: Element>(checkpoint: &Checkpoint, names: &[String], mut out: Vec<T>) -> Result<Vec<T>> {
    ft_kernels::memory::prefer_large_pages(&out);
    let mut rest = out.as_mut_slice();
    for name in names {
        let shape = checkpoint.shape(name)?;
        let (part, after) = rest.split_at_mut(shape.iter().product());
        checkpoint.read(name, part)?;
        if is_transposed(checkpoint.architecture(), name) {
            transpose(part, shape[1]);
        }
        rest = after;
    }
    Ok(out)
}

/// Rows become columns; there are `columns` of them before.
pub(super) fn transpose<T: Copy>(matrix: &mut [T], columns: usize) {
    let old = matrix.to_vec();
    let rows = old.len() / columns.max(1);
    for (i, x) in matrix.iter_mut().enumerate() {
        *x = old[i % rows * columns + i / rows];
    }
}
