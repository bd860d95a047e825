//! Inputs, what runs the kernels, and comparisons.

use std::ops::Range;

use candle_core::{DType, Device, Tensor, Var};
use ft_kernels::philox::Stream;
use ft_kernels::{Backend, Compute, Result};

pub const TYPES: [DType; 3] = [DType::F32, DType::BF16, DType::F16];

/// Orders of threads that each kernel runs in on the emulation: what a third of all orders show, one of these does.
pub const ORDERS: u64 = 8;

/// The operators by kernels.
pub fn kernels() -> Compute {
    Compute { backend: Backend::Cuda, ..Compute::cpu() }
}

/// Where they run.
pub fn device() -> Device {
    if cfg!(feature = "cuda") { ft_kernels::device::cuda(0).unwrap() } else { Device::Cpu }
}

/// Normally distributed numbers in a type, others for each seed.
pub fn matrix(seed: u64, rows: usize, columns: usize, dtype: DType) -> Tensor {
    let mut values = vec![0.0; rows * columns];
    Stream::new(seed, 77, 0).fill_normal(0, &mut values);
    Tensor::from_vec(values, (rows, columns), &device()).unwrap().to_dtype(dtype).unwrap()
}

/// A vector of [`matrix`] in f32.
pub fn vector(seed: u64, len: usize) -> Tensor {
    matrix(seed, 1, len, DType::F32).squeeze(0).unwrap()
}

/// The same numbers in f64, for the references.
pub fn exact(tensor: &Tensor) -> Tensor {
    tensor.to_device(&Device::Cpu).unwrap().to_dtype(DType::F64).unwrap()
}

pub fn bits(tensor: &Tensor) -> Vec<u64> {
    exact(tensor).flatten_all().unwrap().to_vec1::<f64>().unwrap().into_iter().map(f64::to_bits).collect()
}

/// How far a result of this type may be from the exact one, beside the largest.
pub fn bound(dtype: DType) -> f64 {
    match dtype {
        DType::BF16 => 1.0 / 256.0,
        DType::F16 => 1.0 / 2048.0,
        _ => 2e-6,
    }
}

/// Asserts that the largest difference is small beside the largest number.
#[track_caller]
pub fn assert_close(found: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(found.dims(), expected.dims());
    let [found, expected] = [found, expected].map(|t| exact(t).flatten_all().unwrap().to_vec1::<f64>().unwrap());
    let largest = expected.iter().fold(1e-3f64, |a, b| a.max(b.abs()));
    for (i, (found, expected)) in found.into_iter().zip(expected).enumerate() {
        let difference = (found - expected).abs();
        assert!(difference <= tolerance * largest, "element {i}: found {found}, expected {expected}");
    }
}

/// The results of some work, which on the emulation are asserted to be the same bits in every order of threads.
#[track_caller]
pub fn in_every_order(work: impl Fn() -> Vec<Tensor>) -> Vec<Tensor> {
    let first = work();
    #[cfg(feature = "cuda-host")]
    for seed in 1..ORDERS {
        ft_kernels::cuda::host::shuffle(seed);
        for (i, (first, found)) in first.iter().zip(work()).enumerate() {
            assert!(bits(first) == bits(&found), "result {i} is another one in order {seed}");
        }
    }
    #[cfg(feature = "cuda-host")]
    ft_kernels::cuda::host::shuffle(0);
    first
}

/// Asserts that a row's bits are the same alone and among others: `work` computes some of the `rows`.
#[track_caller]
pub fn assert_rows_are_alone(rows: usize, work: impl Fn(Range<usize>) -> Vec<Tensor>) {
    let whole = work(0..rows);
    for range in (0..rows).map(|i| i..i + 1).chain([1..rows, 0..rows - 1]) {
        for (i, (whole, part)) in whole.iter().zip(work(range.clone())).enumerate() {
            let expected = whole.narrow(0, range.start, range.len()).unwrap();
            assert!(bits(&expected) == bits(&part), "result {i}, rows {range:?}");
        }
    }
}

/// Some rows, in memory of their own.
pub fn part(x: &Tensor, rows: &Range<usize>) -> Tensor {
    x.narrow(0, rows.start, rows.len()).unwrap().copy().unwrap()
}

/// The gradient of `sum(f(x) * dy)` by candle's autograd, in f64.
pub fn autograd(x: &Tensor, dy: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>) -> Tensor {
    let x = Var::from_tensor(&exact(x)).unwrap();
    let loss = (f(x.as_tensor()).unwrap() * exact(dy)).unwrap().sum_all().unwrap();
    loss.backward().unwrap().get(&x).unwrap().clone()
}
