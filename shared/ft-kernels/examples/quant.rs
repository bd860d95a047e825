//! Times how fast packed matrices become f32: in a core's cache, and from and to memory with all threads.
//!
//! `cargo run --release -p ft-kernels --example quant`

use std::hint::black_box;
use std::time::{Duration, Instant};

use ft_kernels::Result;
use ft_kernels::quant::{EightBit, FourBit, Kind};

fn main() -> Result<()> {
    println!("{:?}; 10⁹ elements a second", ft_kernels::simd::Isa::best());
    println!(
        "{:>22} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "elements", "nf4", "double", "fp4", "q8_0", "copy", "to nf4"
    );
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    for len in [16 << 10, 64 << 10, 576 * 1536, 4096 * 4096] {
        if let Ok(one) = &one {
            one.install(|| row(&format!("{len}, 1 thread"), len))?;
        }
        row(&format!("{len}, {} threads", rayon::current_num_threads()), len)?;
    }
    Ok(())
}

/// One line of the table.
fn row(name: &str, len: usize) -> Result<()> {
    let values: Vec<f32> = (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 1e7 - 0.8).collect();
    let mut out = vec![0.0; len];
    let four = |kind, double| FourBit::quantise(&values, kind, double);
    let (nf4, double, fp4) = (four(Kind::Nf4, false), four(Kind::Nf4, true), four(Kind::Fp4, false));
    let eight = EightBit::quantise(&values);
    let rates = [
        rate(len, || nf4.expand(&mut out))?,
        rate(len, || double.expand(&mut out))?,
        rate(len, || fp4.expand(&mut out))?,
        rate(len, || eight.expand(&mut out))?,
        rate(len, || {
            out.copy_from_slice(black_box(&values));
            Ok(())
        })?,
        rate(len, || {
            black_box(FourBit::quantise(&values, Kind::Nf4, false));
            Ok(())
        })?,
    ];
    let rates = rates.map(|rate| format!("{rate:8.2}"));
    println!("{name:>22} {}", rates.join(" "));
    Ok(())
}

/// 10⁹ elements a second, in the best of many runs.
fn rate(len: usize, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = Duration::MAX;
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(150) {
        let start = Instant::now();
        work()?;
        black_box(());
        best = best.min(start.elapsed());
    }
    Ok(len as f64 / best.as_secs_f64() / 1e9)
}
