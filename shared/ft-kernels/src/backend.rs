//! Who computes, and in what: the value that every operator takes first.
//!
//! An operator is a function of a [`Compute`]. The engine carries one (a decoder, a step, a rank), so two ranks of one
//! process may differ. [`Compute::choose`] is the one home of the choice; nothing else asks a tensor where it is.

use candle_core::{DType, Device};

pub use crate::simd::Isa;

/// Which version of an operator runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The fused operators over slices: contiguous f32 on the CPU, and an error for anything else.
    Cpu,
    /// Plain candle operations, on any device and in any float type: what the others are held to.
    Reference,
    /// A CUDA GPU, or its emulation on the host (feature `cuda-host`): an operator with a `cuda.rs` beside its
    /// `reference.rs` has kernels of our own, in f32, bf16 and f16; the others run their references there.
    Cuda,
}

/// What numbers are computed in. What is learned, its gradients and the optimizer's memory are f32 whatever it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Precision {
    /// The type of activations: f32 but for the kernels of a GPU.
    pub activations: DType,
    /// What the products of frozen matrices are made in, with sums in f32, as torch's autocast makes them: bf16 or f16;
    /// none for the type of their left side. The CPU takes no notice.
    pub products: Option<DType>,
    /// Whether a GPU may make products of f32 with 10 bits behind the point. The CPU takes no notice.
    pub tf32: bool,
}

/// Who computes, and in what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compute {
    /// Which version of each operator runs.
    pub backend: Backend,
    /// In what.
    pub precision: Precision,
    /// The instructions of the CPU's operators, at most what the machine has. They change no bit; tests say so.
    pub isa: Isa,
}

impl Precision {
    /// f32 in everything.
    pub const F32: Self = Self { activations: DType::F32, products: None, tf32: false };

    /// As `--precision` names it.
    pub fn name(self) -> &'static str {
        match self.products {
            Some(DType::BF16) => "bf16",
            Some(DType::F16) => "fp16",
            _ if self.tf32 => "tf32",
            _ => "f32",
        }
    }

    /// Whether losses are scaled while gradients are formed: f16 cannot hold small ones.
    pub fn scales_loss(self) -> bool {
        self.products == Some(DType::F16)
    }

    /// The bytes of an activation's element.
    pub fn activation_bytes(self) -> usize {
        self.activations.size_in_bytes()
    }
}

impl Default for Precision {
    fn default() -> Self {
        Self::F32
    }
}

/// Which operators the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Operators {
    /// The device's own.
    #[default]
    Own,
    /// The references, on whatever device.
    Reference,
    /// The kernels of a GPU. On the CPU that is their emulation (feature `cuda-host`).
    Kernels,
}

impl Compute {
    /// What computes on a device.
    pub fn choose(device: &Device, operators: Operators, precision: Precision) -> Self {
        let backend = match (device, operators) {
            (_, Operators::Reference) | (Device::Metal(_), _) => Backend::Reference,
            (Device::Cpu, Operators::Own) => Backend::Cpu,
            (Device::Cpu, Operators::Kernels) | (Device::Cuda(_), _) => Backend::Cuda,
        };
        // Other operators than the kernels' keep rows in f32.
        let activations = if backend == Backend::Cuda { precision.activations } else { DType::F32 };
        Self { backend, precision: Precision { activations, ..precision }, isa: Isa::best() }
    }

    /// The device's own operators, in f32.
    pub fn on(device: &Device) -> Self {
        Self::choose(device, Operators::Own, Precision::F32)
    }

    /// The fused operators, in f32.
    pub fn cpu() -> Self {
        Self::on(&Device::Cpu)
    }

    /// The reference operators, in f32.
    pub fn reference() -> Self {
        Self { backend: Backend::Reference, ..Self::cpu() }
    }

    /// The same with these instructions.
    #[must_use]
    pub fn with_isa(self, isa: Isa) -> Self {
        Self { isa, ..self }
    }

    /// The same in another precision.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Whether the fused operators run.
    pub fn is_fused(self) -> bool {
        self.backend == Backend::Cpu
    }

    /// What the products of frozen matrices are made in where their left side is of type `left`.
    pub fn product_type(self, left: DType) -> DType {
        self.precision.products.filter(|_| !self.is_fused()).unwrap_or(left)
    }
}

/// Whether what lies on a device is in the host's memory: a question of place, for copies and budgets. Which operators
/// run there is [`Compute::choose`]'s.
pub fn is_host(device: &Device) -> bool {
    device.is_cpu()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_and_the_user_choose_the_backend() {
        let half = Precision { products: Some(DType::BF16), ..Precision::F32 };
        let fused = Compute::choose(&Device::Cpu, Operators::Own, half);
        assert_eq!((fused.backend, fused.isa), (Backend::Cpu, Isa::best()));
        assert_eq!(fused.product_type(DType::F32), DType::F32, "the CPU takes no notice");
        let plain = Compute::choose(&Device::Cpu, Operators::Reference, half);
        assert_eq!(plain.backend, Backend::Reference);
        assert_eq!(Compute::choose(&Device::Cpu, Operators::Kernels, half).backend, Backend::Cuda);
    }

    #[test]
    fn values_differ_beside_each_other() {
        let values = [Compute::cpu(), Compute::reference(), Compute::cpu().with_isa(Isa::Portable)];
        assert_ne!(values[0], values[1]);
        assert_ne!(values[0], values[2]);
    }
}
