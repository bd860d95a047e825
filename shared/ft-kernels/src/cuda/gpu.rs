//! Launches by CUDA's driver.

use candle_core::cuda::cudarc::driver::sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
use candle_core::cuda::cudarc::driver::{LaunchConfig, PushKernelArg};
use candle_core::cuda::{CudaDevice, WrapErr};
use candle_core::{Error, Result};

use super::memory::Resolved;

/// What build.rs made of each source: its name and its PTX.
const MODULES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/modules.rs"));

/// Shared memory that a kernel may have without being asked.
const PLAIN_SHARED: u32 = 48 << 10;

/// Runs a kernel; `shape` is three numbers of blocks, the threads of one, and the bytes of its shared memory.
///
/// # Safety
/// As [`super::launch::Launch::run`].
pub(super) unsafe fn run(
    device: &CudaDevice,
    module: &str,
    name: &str,
    shape: [u32; 5],
    resolved: &Resolved,
) -> Result<()> {
    let ptx = MODULES.iter().find(|(own, _)| *own == module).map(|(_, ptx)| *ptx);
    let ptx = ptx.ok_or_else(|| Error::Msg(format!("the build has no module {module}")))?;
    let kernel = device.get_or_load_custom_func(name, module, ptx)?;
    let [x, y, z, threads, shared] = shape;
    if shared > PLAIN_SHARED {
        kernel.set_attribute(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, shared.cast_signed()).w()?;
    }
    let mut call = kernel.builder();
    for (word, _) in &resolved.words {
        // The driver takes of each the bytes that the kernel's parameter has, the lowest ones.
        call.arg(word);
    }
    let config = LaunchConfig { grid_dim: (x, y, z), block_dim: (threads, 1, 1), shared_mem_bytes: shared };
    // SAFETY: the caller's promise.
    unsafe { call.launch(config) }.w()?;
    Ok(())
}
