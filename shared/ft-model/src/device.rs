//! Where a model is computed.

use candle_core::Device;
use ft_cli::{DeviceArgs, DeviceName};
use ft_kernels::device;

use crate::error::Result;

/// The device that is asked for; tells the operators which of their versions to take.
///
/// # Errors
/// As [`named`].
pub fn open(args: DeviceArgs) -> Result<Device> {
    ft_kernels::tensor::use_references(args.reference_operators);
    named(args.device)
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
