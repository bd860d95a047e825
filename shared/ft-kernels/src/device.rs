//! Devices other than the CPU: one CUDA GPU, in a build with the feature `cuda`; in one with `cuda-host` the host's memory
//! stands for its own.

use candle_core::Device;

use crate::error::{Error, Result};

/// Why there is no CUDA device where the build has none.
pub const WITHOUT_CUDA: &str =
    "this build is without CUDA; build with --features cuda (make cuda-build), or take --device cpu";

/// A device's memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// What nobody uses.
    pub free: u64,
    /// All that it has.
    pub total: u64,
    /// The most that this process has used at a time for tensors.
    pub peak: u64,
}

/// GPU number `ordinal`, with one stream for all threads of the process.
///
/// # Errors
/// [`Error::NoDevice`] where the build, the driver or the machine has none.
pub fn cuda(ordinal: usize) -> Result<Device> {
    imp::open(ordinal).map_err(|reason| Error::NoDevice { ordinal, reason })
}

/// What a device has and uses; none for the CPU.
pub fn memory(device: &Device) -> Option<Memory> {
    imp::memory(device)
}

/// What the maker calls it; none for the CPU.
pub fn name(device: &Device) -> Option<String> {
    imp::name(device)
}

/// Lets GPUs compute products of f32 with 10 bits behind the point (TF32). The CPU takes no notice.
pub fn allow_tf32(on: bool) {
    candle_core::cuda::set_gemm_reduced_precision_f32(on);
}

/// Its compute capability, major and minor; none for the CPU.
pub fn compute_capability(device: &Device) -> Option<(u32, u32)> {
    imp::compute_capability(device)
}

#[cfg(not(feature = "cuda"))]
mod imp {
    use candle_core::Device;

    use super::{Memory, WITHOUT_CUDA};

    pub fn open(_: usize) -> Result<Device, String> {
        if cfg!(feature = "cuda-host") { Ok(Device::Cpu) } else { Err(WITHOUT_CUDA.into()) }
    }

    pub fn memory(_: &Device) -> Option<Memory> {
        None
    }

    pub fn name(_: &Device) -> Option<String> {
        None
    }

    pub fn compute_capability(_: &Device) -> Option<(u32, u32)> {
        None
    }
}

#[cfg(feature = "cuda")]
mod imp {
    use candle_core::Device;
    use candle_core::cuda::cudarc::driver::{CudaContext, DriverError, result, sys};

    use super::Memory;

    pub fn open(ordinal: usize) -> Result<Device, String> {
        // Asked first, for without a driver what follows has no words for it.
        let count = CudaContext::device_count().map_err(|error| format!("the driver has no GPU ({error})"))?;
        if usize::try_from(count).map_or(true, |count| ordinal >= count) {
            return Err(format!("there are {count}, counted from 0"));
        }
        let device = Device::new_cuda_with_stream(ordinal).map_err(|error| error.to_string())?;
        let context = device.as_cuda_device().map_err(|error| error.to_string())?;
        // SAFETY: the device has one stream, on which all work and all freeing of memory stands in order, so there is
        // nothing that events would have to keep apart.
        unsafe { context.disable_event_tracking() };
        keep_freed_memory(&device).map_err(|error| error.to_string())?;
        Ok(device)
    }

    /// Makes the driver keep what is freed for the next tensor, as [`crate::memory::keep_freed_pages`] does on the host.
    fn keep_freed_memory(device: &Device) -> Result<(), DriverError> {
        let mut all = u64::MAX;
        let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        match pool(device) {
            // SAFETY: the pool is the device's own, and this attribute is 64 bits wide.
            Some(pool) => unsafe { result::mem_pool::set_attribute(pool?, threshold, (&raw mut all).cast()) },
            None => Ok(()),
        }
    }

    fn context(device: &Device) -> Option<std::sync::Arc<CudaContext>> {
        device.as_cuda_device().ok().map(|device| device.cuda_stream().context().clone())
    }

    fn pool(device: &Device) -> Option<Result<sys::CUmemoryPool, DriverError>> {
        // SAFETY: the number is that of a context's device.
        context(device).map(|context| unsafe { result::device::get_default_mem_pool(context.cu_device()) })
    }

    pub fn memory(device: &Device) -> Option<Memory> {
        let (free, total) = context(device)?.mem_get_info().ok()?;
        let figure = |which| {
            let mut bytes = 0u64;
            // SAFETY: the pool is the device's own, and these attributes are 64 bits wide.
            unsafe { result::mem_pool::get_attribute(pool(device)?.ok()?, which, (&raw mut bytes).cast()) }.ok()?;
            Some(bytes)
        };
        let kept = figure(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
        let used = figure(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?;
        let peak = figure(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)?;
        Some(Memory { free: free as u64 + kept.saturating_sub(used), total: total as u64, peak })
    }

    pub fn name(device: &Device) -> Option<String> {
        context(device)?.name().ok()
    }

    pub fn compute_capability(device: &Device) -> Option<(u32, u32)> {
        let (major, minor) = context(device)?.compute_capability().ok()?;
        Some((major.try_into().ok()?, minor.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(not(any(feature = "cuda", feature = "cuda-host")))]
    fn a_build_without_cuda_says_so() {
        let message = cuda(1).unwrap_err().to_string();
        assert!(message.contains("cuda:1") && message.contains("without CUDA"), "{message}");
    }

    #[test]
    fn the_cpu_is_no_gpu() {
        assert_eq!(memory(&Device::Cpu), None);
        assert_eq!(name(&Device::Cpu), None);
        assert_eq!(compute_capability(&Device::Cpu), None);
    }
}
