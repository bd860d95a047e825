//! Launches by the emulation of `kernels/host/emulator.cpp`: the threads of a block take turns in an order that a seed
//! shuffles, and what a kernel must not do is an error.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;

use candle_core::Result;

use super::memory::Resolved;

/// Memory that a launch may touch, as the emulation has it.
#[repr(C)]
struct Buffer {
    first: *const c_void,
    bytes: usize,
}

unsafe extern "C" {
    /// See `kernels/host/emulator.cpp`.
    fn ft_host_launch(
        name: *const c_char,
        grid: *const u32,
        block: *const u32,
        shared: u32,
        arguments: *const *const c_void,
        sizes: *const usize,
        count: usize,
        buffers: *const Buffer,
        buffer_count: usize,
        seed: u64,
        conflicts: *mut u64,
    ) -> *const c_char;
}

thread_local! {
    static SEED: Cell<u64> = const { Cell::new(0) };
}

/// The order of blocks and threads of this thread's launches from now on. A right kernel has the same bits under every seed.
pub fn shuffle(seed: u64) {
    SEED.set(seed);
}

/// Runs a kernel; `shape` is three numbers of blocks, the threads of one, and the bytes of its shared memory.
///
/// # Safety
/// The regions are memory that is there and that nobody else uses now; the arguments are the kernel's. Within the regions
/// the kernel may do what it likes; what is outside of them it is refused.
pub(super) unsafe fn run(name: &str, shape: [u32; 5], resolved: &Resolved) -> Result<()> {
    let Ok(text) = CString::new(name) else { candle_core::bail!("a kernel's name with a zero in it") };
    let values: Vec<[u8; 8]> = resolved.words.iter().map(|(value, bytes)| bytes_of(*value, *bytes)).collect();
    let arguments: Vec<_> = values.iter().map(|value| value.as_ptr().cast::<c_void>()).collect();
    let sizes: Vec<usize> = resolved.words.iter().map(|word| word.1).collect();
    let address = |region: &super::memory::Region| ptr::with_exposed_provenance(region.address as usize);
    let buffers: Vec<_> =
        resolved.regions.iter().map(|region| Buffer { first: address(region), bytes: region.bytes }).collect();
    let (grid, block) = ([shape[0], shape[1], shape[2]], [shape[3], 1, 1]);
    // SAFETY: all the arrays are as long as their counts say, and the caller promises the rest.
    let error = unsafe {
        ft_host_launch(
            text.as_ptr(),
            grid.as_ptr(),
            block.as_ptr(),
            shape[4],
            arguments.as_ptr(),
            sizes.as_ptr(),
            arguments.len(),
            buffers.as_ptr(),
            buffers.len(),
            SEED.get(),
            ptr::null_mut(),
        )
    };
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: what is returned is a text that stays until this thread's next launch.
    let error = unsafe { CStr::from_ptr(error) }.to_string_lossy().into_owned();
    candle_core::bail!("kernel {name}: {error}")
}

/// A number's lowest bytes where C reads them.
fn bytes_of(value: u64, bytes: usize) -> [u8; 8] {
    if bytes == 4 {
        let [a, b, c, d] = (value as u32).to_ne_bytes();
        [a, b, c, d, 0, 0, 0, 0]
    } else {
        value.to_ne_bytes()
    }
}
