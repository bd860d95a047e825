//! An adapter where a model is computed.

use std::borrow::Cow;

use candle_core::{Device, Tensor};
use ft_kernels::tensor::on_host;

use super::adapter::Adapter;
use crate::error::Result;

impl Adapter {
    /// The adapter as a model on `device` needs it: itself on the CPU, else a copy of its values as they are now. The
    /// optimizer, checkpoints and digests keep to the one on the host.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn on(&self, device: &Device) -> Result<Cow<'_, Self>> {
        if device.is_cpu() {
            return Ok(Cow::Borrowed(self));
        }
        let mut placed = self.clone();
        let mut tensors: Vec<&mut Tensor> = Vec::new();
        for pair in &mut placed.modules {
            tensors.extend([&mut pair.a, &mut pair.b].into_iter().chain(&mut pair.magnitude));
        }
        tensors.extend(placed.ends.iter_mut().flat_map(|pair| [&mut pair.a, &mut pair.b]));
        tensors.extend(placed.saved.iter_mut().map(|saved| &mut saved.tensor));
        let moved = moved(&tensors.iter().map(|tensor| (**tensor).clone()).collect::<Vec<_>>(), device)?;
        tensors.into_iter().zip(moved).for_each(|(tensor, moved)| *tensor = moved);
        Ok(Cow::Owned(placed))
    }
}

/// Tensors of one type on another device, in one piece of memory and one transfer: an adapter has hundreds of small
/// ones.
///
/// # Errors
/// If they cannot be moved.
pub(crate) fn moved(tensors: &[Tensor], device: &Device) -> Result<Vec<Tensor>> {
    let flat = tensors.iter().map(Tensor::flatten_all).collect::<candle_core::Result<Vec<_>>>()?;
    if flat.is_empty() {
        return Ok(Vec::new());
    }
    let all = Tensor::cat(&flat, 0)?.to_device(device)?;
    let mut from = 0;
    let mut one = |tensor: &Tensor| -> Result<Tensor> {
        let part = all.narrow(0, from, tensor.elem_count())?.reshape(tensor.shape())?;
        from += tensor.elem_count();
        Ok(part)
    };
    tensors.iter().map(&mut one).collect()
}

/// Gradients on the host, each in memory of its own, for the optimizer changes them in place.
/// (`copy` would copy the memory that a view is of, whole.)
///
/// # Errors
/// If they cannot be moved.
pub(crate) fn to_host(tensors: &[Tensor]) -> Result<Vec<Tensor>> {
    match tensors.first() {
        Some(first) if !first.device().is_cpu() => {
            moved(tensors, &Device::Cpu)?.iter().map(|tensor| Ok(tensor.force_contiguous()?)).collect()
        }
        // A reference may leave a view or a transposed one.
        _ => tensors.iter().map(|tensor| Ok(on_host(tensor)?)).collect(),
    }
}
