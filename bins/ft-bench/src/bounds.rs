//! What the flags ask for, held against what the machine has, before anything is allocated.

use anyhow::{Result, bail};
use ft_cli::Usage;
use ft_kernels::memory::available_bytes;

/// The product of sizes; none where 64 bits cannot count it.
pub fn product(factors: &[usize]) -> Option<u64> {
    factors.iter().try_fold(1u64, |all, &factor| all.checked_mul(factor as u64))
}

/// Refuses what needs more memory than is free; `asked` names the flags and their values.
pub fn require_memory(asked: &str, bytes: Option<u64>) -> Result<()> {
    let Some(bytes) = bytes else { bail!(Usage(format!("{asked} is more than can be counted; ask for less"))) };
    match available_bytes() {
        Some(free) if bytes > free => {
            let gigabytes = |bytes: u64| bytes as f64 / 1e9;
            bail!(Usage(format!(
                "{asked} needs {:.1} GB of memory at least, and {:.1} GB are free; ask for less",
                gigabytes(bytes),
                gigabytes(free)
            )))
        }
        _ => Ok(()),
    }
}
