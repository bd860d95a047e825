//! Some rows of one tensor: the base, what the adapters add, one rounding.

use anyhow::{Result, bail};
use candle_core::DType;
use ft_kernels::gemm::{Mat, MatMut, Rhs, matmul};
use ft_kernels::tensor::with_slices;
use ft_model::LoraPair;
use ft_model::checkpoint::{Element, Stored};
use half::{bf16, f16};

/// A type in which weights are written.
pub trait Number: Element {
    /// The least magnitude that is rounded to infinity.
    const OVERFLOW: f32;
    const ZERO: Self;

    fn wide(self) -> f32;
}

impl Number for f32 {
    const OVERFLOW: f32 = f32::INFINITY;
    const ZERO: Self = 0.0;

    fn wide(self) -> f32 {
        self
    }
}

impl Number for bf16 {
    // Half a unit of the last place above the largest number.
    const OVERFLOW: f32 = f32::from_bits(0x7f7f_8000);
    const ZERO: Self = bf16::ZERO;

    fn wide(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

impl Number for f16 {
    const OVERFLOW: f32 = 65520.0;
    const ZERO: Self = f16::ZERO;

    fn wide(self) -> f32 {
        self.to_f32()
    }
}

/// How far the written weights are from the base, and from the sums in f32.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Change {
    /// Elements of the tensors that were changed.
    count: u64,
    /// The largest magnitude of what was added.
    pub largest: f32,
    squares: f64,
    /// The largest difference between a sum and what was written for it.
    pub largest_rounding: f32,
    rounding_squares: f64,
}

impl Change {
    /// Adds what another part of the model has.
    pub fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.largest = self.largest.max(other.largest);
        self.squares += other.squares;
        self.largest_rounding = self.largest_rounding.max(other.largest_rounding);
        self.rounding_squares += other.rounding_squares;
    }

    /// The root of the mean square of what was added, over the changed tensors.
    pub fn rms(&self) -> f64 {
        (self.squares / self.count.max(1) as f64).sqrt()
    }

    /// The root of the mean square of what rounding changed, over the changed tensors.
    pub fn rms_rounding(&self) -> f64 {
        (self.rounding_squares / self.count.max(1) as f64).sqrt()
    }

    fn of_sums(&mut self, delta: &[f32]) {
        self.count = delta.len() as u64;
        (self.largest, self.squares) = measure(delta);
    }

    fn of_rounding<T: Number>(&mut self, sums: &mut [f32], written: &[T]) {
        sums.iter_mut().zip(written).for_each(|(sum, written)| *sum -= written.wide());
        (self.largest_rounding, self.rounding_squares) = measure(sums);
    }
}

/// Independent sums that the compiler makes vectors of.
const LANES: usize = 16;

/// The largest magnitude, and the sum of the squares, in an order that depends on the length alone.
fn measure(values: &[f32]) -> (f32, f64) {
    let mut largest = [0f32; LANES];
    let mut squares = [0f64; LANES];
    let mut lanes = |part: &[f32]| {
        for (i, &x) in part.iter().enumerate() {
            largest[i] = if x.abs() > largest[i] { x.abs() } else { largest[i] };
            squares[i] += f64::from(x) * f64::from(x);
        }
    };
    let (whole, rest) = values.as_chunks::<LANES>();
    for part in whole {
        lanes(part);
    }
    lanes(rest);
    (largest.into_iter().fold(0.0, f32::max), squares.iter().sum())
}

/// Whether all magnitudes are below `limit`; false for what is not a number.
fn all_below(values: &[f32], limit: f32) -> bool {
    let (whole, rest) = values.as_chunks::<64>();
    let below = |part: &[f32]| part.iter().fold(true, |all, x| all & (x.abs() < limit));
    whole.iter().all(|part| below(part)) && below(rest)
}

/// Buffers that are used again.
#[derive(Default)]
pub struct Scratch {
    sums: Vec<f32>,
    delta: Vec<f32>,
}

/// Reads `out.len() / columns` rows from `first` on, adds `scaling · B·A` of each adapter in f32, and
/// rounds once. A row's result does not depend on the others.
pub fn rows<T: Number>(
    base: &Stored,
    name: &str,
    pairs: &[LoraPair],
    first: usize,
    out: &mut [T],
    scratch: &mut Scratch,
) -> Result<Change> {
    let mut change = Change::default();
    if pairs.is_empty() && base.format().float() == Some(T::DTYPE) {
        base.read_rows(first, out)?;
        return Ok(change);
    }
    scratch.sums.resize(out.len(), 0.0);
    let sums = &mut scratch.sums[..];
    base.read_rows(first, sums)?;
    if !pairs.is_empty() {
        scratch.delta.resize(out.len(), 0.0);
        let total = &mut scratch.delta[..];
        for (i, pair) in pairs.iter().enumerate() {
            add_product(pair, first, base.columns(), total, i > 0)?;
        }
        sums.iter_mut().zip(&*total).for_each(|(sum, delta)| *sum += delta);
        change.of_sums(total);
    }
    if !all_below(sums, T::OVERFLOW) {
        let at = sums.iter().position(|x| x.is_nan() || x.abs() >= T::OVERFLOW).unwrap_or_default();
        let (row, column) = (first + at / base.columns(), at % base.columns());
        let dtype = T::DTYPE.as_str();
        bail!(
            "the tensor '{name}' would be {} at [{row}, {column}], which {dtype} cannot hold; try --dtype bf16 or f32, or look into the model and its adapters",
            sums[at]
        );
    }
    T::narrow(sums, out);
    if !pairs.is_empty() && T::DTYPE != DType::F32 {
        change.of_rounding(sums, out);
    }
    Ok(change)
}

/// `total = scaling · B·A`, or `total += …`, for the rows from `first` on.
fn add_product(pair: &LoraPair, first: usize, columns: usize, total: &mut [f32], more: bool) -> Result<()> {
    let (rank, rows) = (pair.a.dim(0)?, total.len() / columns);
    let scaling = pair.scaling as f32;
    with_slices([&pair.b, &pair.a], |[b, a]| {
        // Scaling the few numbers of B costs less than scaling those of the product.
        let scaled: Vec<f32> = b[first * rank..][..rows * rank].iter().map(|x| x * scaling).collect();
        let product = Mat::new(&scaled, rows, rank);
        matmul(product, Rhs::F32(Mat::new(a, rank, columns)), &mut MatMut::new(total, rows, columns), more);
    })?;
    Ok(())
}
