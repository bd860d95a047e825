//! What a frozen matrix is, as a product takes it.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};

use super::by_rows::{RowSource, Rows};
use super::floats::with_weights;
use crate::backend::{Backend, Compute, Isa, is_host};
use crate::tensor::from_vec;

/// A frozen matrix `[out, in]`: numbers, or what expands to them.
#[derive(Debug, Clone)]
pub enum Weight {
    /// Numbers of any float type, on any device.
    Float(Tensor),
    /// In the host's memory, in whatever form: a few rows at a time become f32 where a product packs them.
    Rows(Rows),
}

impl From<Tensor> for Weight {
    fn from(tensor: Tensor) -> Self {
        Self::Float(tensor)
    }
}

impl From<&Tensor> for Weight {
    fn from(tensor: &Tensor) -> Self {
        Self::Float(tensor.clone())
    }
}

impl From<&Weight> for Weight {
    fn from(weight: &Weight) -> Self {
        weight.clone()
    }
}

impl Weight {
    /// What `source` expands to.
    pub fn of_rows(source: Arc<dyn RowSource>) -> Self {
        Self::Rows(Rows::new(source))
    }

    /// `(out, in)`
    ///
    /// # Errors
    /// If a tensor is no matrix.
    pub fn dims2(&self) -> Result<(usize, usize)> {
        match self {
            Self::Float(tensor) => tensor.dims2(),
            Self::Rows(rows) => Ok((rows.rows(), rows.columns())),
        }
    }

    /// The rows `first .. first + count`; nothing is moved.
    ///
    /// # Errors
    /// If there are no such rows.
    pub fn narrow(&self, first: usize, count: usize) -> Result<Self> {
        Ok(match self {
            Self::Float(tensor) => Self::Float(tensor.narrow(0, first, count)?),
            Self::Rows(rows) => Self::Rows(rows.narrow(first, count)?),
        })
    }

    /// The matrix, where it is numbers already.
    pub fn as_float(&self) -> Option<&Tensor> {
        match self {
            Self::Float(tensor) => Some(tensor),
            Self::Rows(_) => None,
        }
    }

    /// The type of its numbers as a product meets them.
    pub fn dtype(&self) -> DType {
        self.as_float().map_or(DType::F32, Tensor::dtype)
    }

    /// The whole matrix as numbers where it lies; rows in f32.
    ///
    /// # Errors
    /// If it cannot be expanded.
    pub fn widened(&self) -> Result<Tensor> {
        match self {
            Self::Float(tensor) => Ok(tensor.clone()),
            Self::Rows(rows) => rows.expand_all(Isa::best()),
        }
    }

    /// The whole matrix as numbers on the device where others compute: by a kernel there, in `dtype`, where that is possible.
    ///
    /// # Errors
    /// If it cannot be expanded, or the device has no room.
    pub(super) fn numbers(&self, compute: Compute, device: &Device, dtype: DType) -> Result<Tensor> {
        let kernels = compute.backend == Backend::Cuda && matches!(self, Self::Rows(_));
        if kernels { self.on(device, Some(dtype))?.widened() } else { self.to_device(device)?.widened() }
    }

    /// The matrix as numbers on a device, in the type that products are made in there, if that is another one than its own. A
    /// kernel of the device makes them of few bits where there is one: then those alone go over. Else it is narrowed before it
    /// goes over, and no product narrows it again.
    ///
    /// # Errors
    /// If it cannot be expanded, or the device has no room.
    pub fn on(&self, device: &Device, products: Option<DType>) -> Result<Self> {
        if let (Self::Rows(rows), Device::Cpu | Device::Cuda(_)) = (self, device)
            && let Some(found) = rows.expand_on(device, products.unwrap_or(DType::F32))?
        {
            return Ok(Self::Float(found));
        }
        match products {
            Some(dtype) => Self::Float(self.widened()?.to_dtype(dtype)?).to_device(device),
            None => self.to_device(device),
        }
    }

    /// The matrix on a device, where the host's rows become f32.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        match self {
            Self::Rows(_) if is_host(device) => Ok(self.clone()),
            _ => Ok(Self::Float(self.widened()?.to_device(device)?)),
        }
    }

    /// Where it lies.
    pub fn device(&self) -> &Device {
        self.as_float().map_or(&Device::Cpu, Tensor::device)
    }

    /// Whether both are the same memory.
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(x), Self::Float(y)) => x.id() == y.id(),
            (Self::Rows(x), Self::Rows(y)) => x.is(y),
            _ => false,
        }
    }

    /// The bytes that it takes.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Float(tensor) => (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64,
            Self::Rows(rows) => rows.bytes() as u64,
        }
    }

    /// The most bytes that a product of it expands on the host at a time.
    pub fn expanded_bytes(&self) -> usize {
        match self {
            Self::Float(_) => 0,
            Self::Rows(rows) => rows.expanded_bytes(),
        }
    }

    /// The rows with these numbers, `[ids, in]` in f32, where the matrix lies.
    ///
    /// # Errors
    /// If there is no such row, or the device has no room.
    pub fn look_up(&self, ids: &[u32]) -> Result<Tensor> {
        match self {
            Self::Float(table) => table.index_select(&Tensor::new(ids, table.device())?, 0)?.to_dtype(DType::F32),
            Self::Rows(rows) => {
                let columns = rows.columns();
                let mut found = vec![0.0; ids.len() * columns];
                for (&id, row) in ids.iter().zip(found.chunks_exact_mut(columns.max(1))) {
                    rows.expand(Isa::best(), id as usize, row)?;
                }
                from_vec(found, (ids.len(), columns))
            }
        }
    }

    /// Calls `f` with what writes rows of a matrix on the host in f32, from one on, as many as there is room for.
    ///
    /// # Errors
    /// If it is no matrix of a float type on the host.
    pub(super) fn with_rows<R>(
        &self,
        isa: Isa,
        f: impl FnOnce(&(dyn Fn(usize, &mut [f32]) -> Result<()> + Sync)) -> R,
    ) -> Result<R> {
        let columns = self.dims2()?.1;
        match self {
            Self::Float(tensor) => with_weights(tensor, |weights| {
                f(&|first, out| {
                    weights.widen(first * columns, out);
                    Ok(())
                })
            }),
            Self::Rows(rows) => Ok(f(&|first, out| rows.expand(isa, first, out))),
        }
    }
}
