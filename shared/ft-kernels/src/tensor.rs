//! The seam between candle's tensors and plain slices.

use std::cell::Cell;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Result, Shape, Storage, Tensor};

use crate::backend::is_host;

/// Whether [`with_slice`] can read it: contiguous f32 in the host's memory.
pub fn is_slice(tensor: &Tensor) -> bool {
    is_host(tensor.device()) && tensor.dtype() == DType::F32 && tensor.is_contiguous()
}

/// The tensor on the host, contiguous, for what works on slices; itself where it is that already.
///
/// # Errors
/// If candle cannot copy it.
pub fn on_host(tensor: &Tensor) -> Result<Tensor> {
    tensor.contiguous()?.to_device(&Device::Cpu)
}

/// Calls `f` with the elements of a contiguous `f32` tensor on the CPU, in row-major order.
///
/// # Errors
/// If the tensor is on another device, of another type or not contiguous.
pub fn with_slice<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
    with_slices([tensor], |[slice]| f(slice))
}

/// [`with_slice`] for several tensors at once.
///
/// # Errors
/// If one of them is on another device, of another type or not contiguous.
pub fn with_slices<const N: usize, R>(tensors: [&Tensor; N], f: impl FnOnce([&[f32]; N]) -> R) -> Result<R> {
    let guards = tensors.map(Tensor::storage_and_layout);
    let mut slices: [&[f32]; N] = [&[]; N];
    for (slice, (storage, layout)) in slices.iter_mut().zip(&guards) {
        let Storage::Cpu(storage) = &**storage else {
            candle_core::bail!("a fused operator needs a tensor on the CPU");
        };
        *slice = &storage.as_slice::<f32>()?[range(layout)?];
    }
    Ok(f(slices))
}

/// [`with_slices`] for any number of them.
///
/// # Errors
/// As [`with_slices`].
pub fn with_list<R>(tensors: &[&Tensor], f: impl FnOnce(&[&[f32]]) -> R) -> Result<R> {
    let guards: Vec<_> = tensors.iter().map(|tensor| tensor.storage_and_layout()).collect();
    let mut slices: Vec<&[f32]> = Vec::with_capacity(guards.len());
    for (storage, layout) in &guards {
        let Storage::Cpu(storage) = &**storage else {
            candle_core::bail!("a fused operator needs a tensor on the CPU");
        };
        slices.push(&storage.as_slice::<f32>()?[range(layout)?]);
    }
    Ok(f(&slices))
}

/// Calls `f` with the elements of a contiguous `f32` tensor on the CPU, to be changed in place.
///
/// Every other handle on the same storage sees the change, so this is for tensors that the caller
/// owns and gives up.
///
/// # Errors
/// If the tensor is on another device, of another type or not contiguous.
pub fn with_slice_mut<R>(tensor: &Tensor, f: impl FnOnce(&mut [f32]) -> R) -> Result<R> {
    let operation = InPlace { work: Cell::new(Some(f)), result: Cell::new(None) };
    tensor.inplace_op1(&operation)?;
    match operation.result.into_inner() {
        Some(result) => Ok(result),
        None => candle_core::bail!("the in-place operation did not run"),
    }
}

/// A tensor over a vector's own memory.
///
/// # Errors
/// If the vector's length is not the shape's number of elements.
pub fn from_vec(values: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    let shape = shape.into();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

/// A vector of `len` elements that are still to be written: clearing them first costs as much as many an operator.
///
/// With debug assertions, as in the tests, they are not numbers, so that one that is read unwritten shows.
///
/// # Safety
/// The caller writes every element before any is read, and before the vector is handed on.
pub unsafe fn unwritten(len: usize) -> Vec<f32> {
    let mut values: Vec<f32> = Vec::with_capacity(len);
    if cfg!(debug_assertions) {
        values.resize(len, f32::NAN);
    }
    // SAFETY: the capacity is at least `len`; that the elements are written is the caller's promise.
    unsafe { values.set_len(len) };
    values
}

/// The part of the storage that a contiguous layout covers.
fn range(layout: &Layout) -> Result<std::ops::Range<usize>> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(start..end),
        None => candle_core::bail!(
            "a fused operator needs a contiguous tensor, found shape {:?} with strides {:?}",
            layout.dims(),
            layout.stride()
        ),
    }
}

/// candle's door to a tensor's storage for writing.
struct InPlace<F, R> {
    work: Cell<Option<F>>,
    result: Cell<Option<R>>,
}

impl<R, F: FnOnce(&mut [f32]) -> R> InplaceOp1 for InPlace<F, R> {
    fn name(&self) -> &'static str {
        "with_slice_mut"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let range = range(layout)?;
        let CpuStorage::F32(values) = storage else {
            candle_core::bail!("a fused operator needs f32, found {:?}", storage.dtype());
        };
        if let Some(work) = self.work.take() {
            self.result.set(Some(work(&mut values[range])));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_the_elements_of_a_view() -> Result<()> {
        let t = Tensor::arange(0f32, 12f32, &Device::Cpu)?.reshape((4, 3))?;
        let rows = t.narrow(0, 1, 2)?;
        with_slice(&rows, |s| assert_eq!(s, [3., 4., 5., 6., 7., 8.]))?;
        with_slice_mut(&rows, |s| s.fill(9.))?;
        assert_eq!(t.to_vec2::<f32>()?[1], [9., 9., 9.]);
        assert_eq!(t.to_vec2::<f32>()?[3], [9., 10., 11.]);
        Ok(())
    }

    #[test]
    fn what_cannot_be_a_slice_is_refused() -> Result<()> {
        let t = Tensor::zeros((4, 3), DType::F32, &Device::Cpu)?;
        let columns = t.narrow(1, 0, 2)?;
        assert!(is_slice(&t) && !is_slice(&columns));
        let message = with_slice(&columns, <[f32]>::len).unwrap_err().to_string();
        assert!(message.contains("contiguous"), "{message}");
        let doubles = t.to_dtype(DType::F64)?;
        assert!(with_slice(&doubles, <[f32]>::len).is_err());
        assert!(with_slice_mut(&doubles, |s| s.len()).is_err());
        Ok(())
    }

    #[test]
    fn what_is_not_written_shows_in_tests() {
        // SAFETY: with assertions the elements are there; without, none is read.
        let values = unsafe { unwritten(1000) };
        assert_eq!(values.len(), 1000);
        assert!(!cfg!(debug_assertions) || values.iter().all(|x| x.is_nan()));
    }
}
