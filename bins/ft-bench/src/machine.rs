//! What the figures were measured on.

use serde_json::{Value, json};

/// Processor, threads, instructions, memory.
pub fn describe(threads: usize) -> Value {
    json!({
        "cpu": cpu(),
        "cores": std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
        "threads": threads,
        "instruction_set": ft_kernels::gemm::instruction_set(),
        "available_memory_bytes": ft_kernels::memory::available_bytes(),
    })
}

/// One line for people.
pub fn line(machine: &Value) -> String {
    let text = |key: &str| machine[key].as_str().unwrap_or("unknown processor").to_owned();
    format!("{}, {} of {} cores, {}", text("cpu"), machine["threads"], machine["cores"], text("instruction_set"))
}

/// The processor's name, where the system tells.
fn cpu() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
