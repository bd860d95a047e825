//! Inputs and comparisons.

use candle_core::{Device, Tensor, Var};
use ft_kernels::philox::Stream;
use ft_kernels::simd::Isa;
use ft_kernels::{Compute, Result};

/// Normally distributed numbers, others for each seed.
pub fn numbers(seed: u64, len: usize) -> Vec<f32> {
    let mut values = vec![0.0; len];
    Stream::new(seed, 99, 0).fill_normal(0, &mut values);
    values
}

/// The fused operators.
pub fn cpu() -> Compute {
    Compute::cpu()
}

/// A matrix of [`numbers`].
pub fn matrix(seed: u64, rows: usize, columns: usize) -> Tensor {
    Tensor::from_vec(numbers(seed, rows * columns), (rows, columns), &Device::Cpu).unwrap()
}

pub fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

pub fn bits(tensor: &Tensor) -> Vec<u32> {
    values(tensor).into_iter().map(f32::to_bits).collect()
}

/// A copy with memory of its own.
pub fn own(tensor: &Tensor) -> Tensor {
    tensor.copy().unwrap()
}

/// Asserts that the largest difference is small beside the largest number.
#[track_caller]
pub fn assert_close(found: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(found.dims(), expected.dims());
    let expected: Vec<f64> = values(expected).into_iter().map(f64::from).collect();
    assert_close_f64(found, &expected, tolerance);
}

/// [`assert_close`] to numbers in f64.
#[track_caller]
pub fn assert_close_f64(found: &Tensor, expected: &[f64], tolerance: f64) {
    let found = values(found);
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(1e-3f64, |a, b| a.max(b.abs()));
    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let difference = (f64::from(found) - expected).abs();
        assert!(difference <= tolerance * largest, "element {i}: found {found}, expected {expected}");
    }
}

/// The gradient of `sum(f(x) * dy)` by candle's autograd.
pub fn autograd(x: &Tensor, dy: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>) -> Tensor {
    let x = Var::from_tensor(x).unwrap();
    let y = f(x.as_tensor()).unwrap();
    let loss = (y * dy).unwrap().sum_all().unwrap();
    loss.backward().unwrap().get(&x).unwrap().clone()
}

/// The gradient of `sum(f(x) * dy)` by central differences in f64.
pub fn differences(x: &Tensor, dy: &Tensor, f: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    let mut x: Vec<f64> = values(x).into_iter().map(f64::from).collect();
    let dy: Vec<f64> = values(dy).into_iter().map(f64::from).collect();
    let loss = |x: &[f64]| f(x).iter().zip(&dy).map(|(y, dy)| y * dy).sum::<f64>();
    (0..x.len())
        .map(|i| {
            let middle = x[i];
            x[i] = middle + STEP;
            let above = loss(&x);
            x[i] = middle - STEP;
            let below = loss(&x);
            x[i] = middle;
            (above - below) / (2.0 * STEP)
        })
        .collect()
}

/// Asserts that the work gives the same bits with 1, 2 and 5 threads and every instruction set that
/// this machine has.
#[track_caller]
pub fn assert_same_bits(work: impl Fn(Compute) -> Vec<Tensor> + Send + Sync) {
    let run = |threads: usize, compute: Compute| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| work(compute).iter().map(bits).collect::<Vec<_>>())
    };
    let expected = run(1, cpu());
    for threads in [2, 5] {
        assert!(run(threads, cpu()) == expected, "{threads} threads");
    }
    for isa in Isa::ALL {
        assert!(run(2, cpu().with_isa(isa)) == expected, "{isa:?}");
    }
}

/// Asserts that `whole` is `parts` one below the other, bit by bit.
#[track_caller]
pub fn assert_is_pieces(whole: &Tensor, parts: &[Tensor]) {
    assert!(bits(whole) == parts.iter().flat_map(bits).collect::<Vec<_>>());
}
