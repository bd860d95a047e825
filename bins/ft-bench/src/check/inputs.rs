//! Seeded inputs, and the comparison of what two devices make of them.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use ft_kernels::backend::{Compute, Precision, is_host};
use ft_kernels::philox::Stream;
use ft_model::device::DeviceName;

/// The random streams of the inputs.
const PURPOSE: u32 = 0x400;

/// Where something is computed, and by which operators.
#[derive(Clone, Debug)]
pub struct On {
    pub device: Device,
    pub compute: Compute,
}

impl On {
    /// The CPU's fused operators: what others are compared with.
    pub fn cpu() -> Self {
        Self { device: Device::Cpu, compute: Compute::cpu() }
    }

    /// What is compared on the device of this name: a GPU's own operators, and the plain ones on the CPU.
    pub fn compared(name: DeviceName, device: Device, reference_operators: bool, precision: Precision) -> Self {
        let on_cpu = is_host(&device) && !matches!(name, DeviceName::Cuda(_));
        let compute = ft_model::device::compute(name, &device, reference_operators || on_cpu, precision);
        Self { device, compute }
    }
}

/// Runs an operator somewhere.
type Run = dyn Fn(&On) -> Result<Vec<Tensor>>;

/// An operator at some shape.
pub struct Case {
    pub name: String,
    /// Makes its inputs and runs it there.
    pub run: Box<Run>,
}

/// One case of some name.
pub fn case(name: &str, run: impl Fn(&On) -> Result<Vec<Tensor>> + 'static) -> Case {
    Case { name: name.into(), run: Box::new(run) }
}

/// Normally distributed numbers, others for each seed, in memory of their own.
pub fn numbers(seed: u64, len: usize) -> Vec<f32> {
    let mut values = vec![0.0; len];
    Stream::new(seed, PURPOSE, 0).fill_normal(0, &mut values);
    values
}

/// A matrix of [`numbers`].
pub fn matrix(on: &On, seed: u64, rows: usize, columns: usize) -> Result<Tensor> {
    Ok(Tensor::from_vec(numbers(seed, rows * columns), (rows, columns), &Device::Cpu)?.to_device(&on.device)?)
}

/// A vector of [`numbers`].
pub fn vector(on: &On, seed: u64, len: usize) -> Result<Tensor> {
    Ok(Tensor::from_vec(numbers(seed, len), len, &Device::Cpu)?.to_device(&on.device)?)
}

/// The largest difference of what is found there from what the CPU finds, and the largest one as a share of the largest
/// number in the same tensor.
pub fn compare(on: &On, run: &dyn Fn(&On) -> Result<Vec<Tensor>>) -> Result<(f64, f64)> {
    let (expected, found) = (run(&On::cpu())?, run(on)?);
    let (mut error, mut share) = (0.0f64, 0.0f64);
    for (found, expected) in found.iter().zip(&expected) {
        if found.dims() != expected.dims() {
            anyhow::bail!("the device gives the shape {:?}, the CPU {:?}", found.dims(), expected.dims());
        }
        let (found, expected) = (values(found)?, values(expected)?);
        let largest = expected.iter().fold(1e-3f64, |most, x| most.max(x.abs()));
        let difference = found.iter().zip(&expected).fold(0.0f64, |most, (x, y)| larger(most, (x - y).abs()));
        (error, share) = (larger(error, difference), larger(share, difference / largest));
    }
    Ok((error, share))
}

/// The larger one; what is not a number is larger than any.
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.to_device(&Device::Cpu)?.to_vec1()?)
}
