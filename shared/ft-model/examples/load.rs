//! How long a model takes to load, and what memory it takes: `load MODEL [f32|bf16|f16]`.

use std::path::Path;
use std::time::Instant;

use candle_core::DType;
use ft_model::{Checkpoint, Resident};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let path = args.get(1).ok_or("usage: load MODEL [f32|bf16|f16]")?;
    let dtype = match args.get(2).map(String::as_str) {
        Some("bf16") => DType::BF16,
        Some("f16") => DType::F16,
        _ => DType::F32,
    };
    ft_kernels::memory::keep_freed_pages();
    let start = Instant::now();
    let model = Checkpoint::open(Path::new(path))?;
    let opened = start.elapsed();
    let resident = Resident::load(&model, dtype, |_| {})?;
    let loaded = start.elapsed();
    let peak = ft_kernels::memory::peak_rss_bytes().unwrap_or(0) / 1_000_000;
    println!("opened in {opened:.3?}, loaded in {loaded:.3?}, peak {peak} MB");
    drop(resident);
    Ok(())
}
