//! The process's memory: how the allocator behaves, and how much is in use.

/// Makes the allocator keep what is freed, so that big buffers are reused without page faults.
///
/// A training step allocates and frees the same large buffers over and over. By default glibc maps
/// and unmaps each anew, and the kernel clears every page again: that costs more than many of the
/// operators. This keeps them in one heap instead. Call it once, before the first large allocation
/// and before threads start. Returns whether the allocator took it; with another allocator than
/// glibc's it does nothing.
pub fn keep_freed_pages() -> bool {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // No mapping of single buffers (a threshold would be capped at 32 MiB), no returning of the
        // heap's top to the kernel, growth in large steps, and one arena, so that a buffer freed by
        // one thread serves another.
        const GROWTH: libc::c_int = 16 << 20;
        // SAFETY: mallopt only changes the allocator's parameters.
        unsafe {
            libc::mallopt(libc::M_MMAP_MAX, 0) == 1
                && libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX) == 1
                && libc::mallopt(libc::M_TOP_PAD, GROWTH) == 1
                && libc::mallopt(libc::M_ARENA_MAX, 1) == 1
        }
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    {
        false
    }
}

/// Asks the kernel for large pages behind these values, where it has them: weights that every token reads
/// from memory then cost fewer look-ups of addresses. Call it before they are written.
pub fn prefer_large_pages<T>(values: &[T]) {
    #[cfg(target_os = "linux")]
    {
        const LARGE: usize = 2 << 20;
        // Whole large pages, so that the ranges of neighbours in the heap meet.
        let start = values.as_ptr() as usize / LARGE * LARGE;
        let end = (values.as_ptr() as usize + size_of_val(values)).next_multiple_of(LARGE);
        if size_of_val(values) >= LARGE / 4 {
            // SAFETY: the advice changes no content, of the values or of what lies around them, and passes over
            // addresses behind which there is nothing.
            unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = values;
}

/// The largest resident memory that this process has had, in bytes; `None` where the system does
/// not tell.
pub fn peak_rss_bytes() -> Option<u64> {
    status_bytes("VmHWM:")
}

/// The resident memory of this process now, in bytes; `None` where the system does not tell.
pub fn current_rss_bytes() -> Option<u64> {
    status_bytes("VmRSS:")
}

/// The memory that a program may still take without swapping, in bytes; `None` where the system does
/// not tell.
pub fn available_bytes() -> Option<u64> {
    line_bytes("/proc/meminfo", "MemAvailable:")
}

/// One line of `/proc/self/status`.
fn status_bytes(key: &str) -> Option<u64> {
    line_bytes("/proc/self/status", key)
}

/// The size on the line of a file that begins with `key`; Linux gives it in KiB.
fn line_bytes(path: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn memory_in_use_is_told() {
        let block = std::hint::black_box(vec![1u8; 8 << 20]);
        let (now, peak) = (current_rss_bytes().unwrap(), peak_rss_bytes().unwrap());
        assert!(now >= block.len() as u64);
        assert!(peak >= now);
    }
}
