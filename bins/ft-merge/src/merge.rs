//! Some rows of one tensor: the base, what the adapters add, one rounding.

use anyhow::{Result, bail};
use candle_core::{DType, Tensor};
use ft_kernels::backend::Isa;
use ft_kernels::gemm::{Mat, MatMut, Rhs, matmul};
use ft_kernels::tensor::with_slices;
use ft_model::checkpoint::{Element, Stored};
use half::{bf16, f16};

use crate::adapters::Addition;

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

/// A tensor to be written: where it comes from and what is done to it.
pub struct Merged<'a> {
    pub name: &'a str,
    pub base: &'a Stored,
    /// What was trained whole, in the base's shape.
    pub saved: Option<&'a Tensor>,
    pub additions: &'a [Addition],
    /// The argument that chooses the written type, for messages.
    pub option: &'static str,
}

impl Merged<'_> {
    /// Reads `out.len() / columns` rows from `first` on, puts trained ones in their place, adds `scaling · B·A` of each
    /// adapter in f32, scales where it is DoRA, and rounds once. A row's result does not depend on the others.
    pub fn rows<T: Number>(&self, first: usize, out: &mut [T], scratch: &mut Scratch) -> Result<Change> {
        let mut change = Change::default();
        let changes = self.saved.is_some() || !self.additions.is_empty();
        if !changes && self.base.format().float() == Some(T::DTYPE) {
            self.base.read_rows(first, out)?;
            return Ok(change);
        }
        let (sums, delta) = (&mut scratch.sums, &mut scratch.delta);
        sums.resize(out.len(), 0.0);
        self.base.read_rows(first, sums)?;
        if changes {
            delta.resize(out.len(), 0.0);
            self.replace(first, sums, delta)?;
            self.add(first, sums, delta)?;
            change.of_sums(delta);
        }
        self.refuse_overflow::<T>(first, sums)?;
        T::narrow(sums, out);
        if changes && T::DTYPE != DType::F32 {
            change.of_rounding(sums, out);
        }
        Ok(change)
    }

    /// Puts what was trained whole in the place of the base's rows, and in `delta` by how much it differs.
    fn replace(&self, first: usize, sums: &mut [f32], delta: &mut [f32]) -> Result<()> {
        let Some(saved) = self.saved else { return Ok(()) };
        with_slices([saved], |[values]| {
            let start = first * self.base.columns();
            for ((sum, delta), value) in sums.iter_mut().zip(delta).zip(&values[start..]) {
                (*delta, *sum) = (value - *sum, *value);
            }
        })?;
        Ok(())
    }

    /// Adds the adapters' products to the rows, and in `delta` what that changes.
    fn add(&self, first: usize, sums: &mut [f32], delta: &mut [f32]) -> Result<()> {
        let columns = self.base.columns();
        for (i, addition) in self.additions.iter().enumerate() {
            add_product(addition, first, columns, delta, i > 0)?;
        }
        let Some(factors) = self.additions.iter().find_map(|addition| addition.factors.as_ref()) else {
            if !self.additions.is_empty() {
                sums.iter_mut().zip(delta).for_each(|(sum, delta)| *sum += *delta);
            }
            return Ok(());
        };
        for (i, (sums, delta)) in sums.chunks_mut(columns).zip(delta.chunks_mut(columns)).enumerate() {
            for (j, (sum, delta)) in sums.iter_mut().zip(delta).enumerate() {
                let factor = factors.values[if factors.by_column { j } else { first + i }];
                let scaled = factor * (*sum + *delta);
                (*delta, *sum) = (scaled - *sum, scaled);
            }
        }
        Ok(())
    }

    fn refuse_overflow<T: Number>(&self, first: usize, sums: &[f32]) -> Result<()> {
        if all_below(sums, T::OVERFLOW) {
            return Ok(());
        }
        let columns = self.base.columns();
        let at = sums.iter().position(|x| x.is_nan() || x.abs() >= T::OVERFLOW).unwrap_or_default();
        let (name, row, column) = (self.name, first + at / columns, at % columns);
        let dtype = T::DTYPE.as_str();
        bail!(
            "the tensor '{name}' would be {} at [{row}, {column}], which {dtype} cannot hold; try {} bf16 or f32, or look into the model and its adapters",
            sums[at],
            self.option
        );
    }
}

/// `total = scaling · B·A`, or `total += …`, for the rows from `first` on.
fn add_product(addition: &Addition, first: usize, columns: usize, total: &mut [f32], more: bool) -> Result<()> {
    let Addition { a, b, scaling, .. } = addition;
    let (rank, rows) = (a.dim(0)?, total.len() / columns);
    with_slices([b, a], |[b, a]| {
        // Scaling the few numbers of B costs less than scaling those of the product.
        let scaled: Vec<f32> = b[first * rank..][..rows * rank].iter().map(|x| x * scaling).collect();
        let product = Mat::new(&scaled, rows, rank);
        matmul(
            Isa::best(),
            product,
            Rhs::F32(Mat::new(a, rank, columns)),
            &mut MatMut::new(total, rows, columns),
            more,
        );
    })?;
    Ok(())
}
