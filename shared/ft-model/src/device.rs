//! Where a model is computed.

use std::fmt;
use std::str::FromStr;

use candle_core::Device;
use ft_kernels::backend::is_host;
use ft_kernels::{Compute, Operators, Precision, device};

use crate::error::Result;

/// What computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceName {
    /// The first GPU that the build can use, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A CUDA GPU, by its number.
    Cuda(usize),
}

/// Who computes on the device of this name, and in what; tells candle about TF32, whose switch for that is the process's.
pub fn compute(name: DeviceName, device: &Device, reference_operators: bool, precision: Precision) -> Compute {
    device::allow_tf32(precision.tf32);
    let operators = match name {
        _ if reference_operators => Operators::Reference,
        DeviceName::Auto | DeviceName::Cpu => Operators::Own,
        DeviceName::Cuda(_) => Operators::Kernels,
    };
    if operators == Operators::Kernels && is_host(device) {
        tracing::info!("{name} is emulated on the CPU (feature cuda-host): right, and slow");
    }
    Compute::choose(device, operators, precision)
}

/// The device of this name; `auto` is the first GPU where the build can use one and it is there, else the CPU.
///
/// # Errors
/// If it is named and not there.
pub fn named(name: DeviceName) -> Result<Device> {
    Ok(match name {
        DeviceName::Cpu => Device::Cpu,
        DeviceName::Auto => device::cuda(0).unwrap_or(Device::Cpu),
        DeviceName::Cuda(number) => device::cuda(number)?,
    })
}

/// How reports call it: `cpu`, or `cuda:0 (NVIDIA H100)`.
pub fn describe(device: &Device) -> String {
    match (device.location(), device::name(device)) {
        (candle_core::DeviceLocation::Cuda { gpu_id }, Some(name)) => format!("cuda:{gpu_id} ({name})"),
        (candle_core::DeviceLocation::Cuda { gpu_id }, None) => format!("cuda:{gpu_id}"),
        _ => "cpu".into(),
    }
}

/// The bytes that may be kept there between forward and backward if nobody says otherwise: a quarter of what is free.
pub fn activation_memory(device: &Device) -> u64 {
    let free = match device::memory(device) {
        Some(memory) => Some(memory.free),
        None => ft_kernels::memory::available_bytes(),
    };
    free.unwrap_or(4 << 30) / 4
}

/// The most memory that tensors have taken there, in bytes; the process's own on the CPU.
pub fn peak_bytes(device: &Device) -> Option<u64> {
    device::memory(device).map(|memory| memory.peak).or_else(ft_kernels::memory::peak_rss_bytes)
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let number = |text: &str| text.strip_prefix("cuda:").and_then(|number| number.parse().ok());
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            text => number(text).map(Self::Cuda).ok_or_else(|| "expected auto, cpu, cuda or cuda:N".into()),
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for (text, name) in [("auto", DeviceName::Auto), ("cpu", DeviceName::Cpu), ("cuda:3", DeviceName::Cuda(3))] {
            assert_eq!(text.parse(), Ok(name));
            assert_eq!(name.to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(DeviceName::Cuda(0)));
        for wrong in ["", "gpu", "cuda:", "cuda:x", "cuda:-1"] {
            assert!(wrong.parse::<DeviceName>().is_err(), "{wrong}");
        }
    }
}
