//! The products of a frozen matrix that is not there as numbers: some of its rows are expanded at a time.
//!
//! Their bits are those of [`product`](super::product) and [`product_few`](super::product_few) with the whole matrix
//! expanded. A row of `W` is a column of `x·Wᵀ`, and columns do not know each other. In `x·W` the rows are what is
//! summed over: there each part is whole blocks of that sum, which `gemm` adds to what stands in the result anyway.

use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

use super::reference;
use crate::backend::{Compute, Isa};
use crate::gemm::{Mat, MatMut, Rhs, block_length, matmul_part};
use crate::skinny::skinny_by_rows;
use crate::tensor::{from_vec, uninit, with_slice};

/// A frozen matrix `[rows, columns]` of which some rows at a time can be had as numbers.
pub trait RowSource: Sync {
    /// The number of rows.
    fn rows(&self) -> usize;

    /// The number of elements in a row.
    fn columns(&self) -> usize;

    /// Writes the rows from `first` on, as many whole ones as there is room for, on this thread and with these
    /// instructions, which change no bit.
    ///
    /// # Errors
    /// If they cannot be had.
    fn expand(&self, isa: Isa, first: usize, out: &mut [f32]) -> Result<()>;
}

/// Elements that are expanded at a time: large enough for all threads, small beside a layer.
const AT_ONCE: usize = 1 << 21;
/// Elements that one thread expands at a time.
const A_TASK: usize = 1 << 14;

/// How many rows of a matrix `[rows, columns]` are expanded at a time: whole blocks of a sum over the rows.
pub fn rows_at_once(rows: usize, columns: usize) -> usize {
    let step = block_length(rows);
    ((AT_ONCE / columns.max(1)) / step).max(1) * step
}

/// [`product`](super::product) with a matrix that is expanded in parts, each of them once.
///
/// # Errors
/// If candle refuses the shapes or types, or rows cannot be had.
pub fn product_by_rows(compute: Compute, x: &Tensor, weight: &dyn RowSource, transposed: bool) -> Result<Tensor> {
    let isa = compute.isa;
    if !compute.is_fused() {
        return reference::product(compute, x, &expand_all(isa, weight)?.to_device(x.device())?, transposed);
    }
    let (rows, k) = x.dims2()?;
    let (all, columns) = (weight.rows(), weight.columns());
    let (inner, n) = if transposed { (all, columns) } else { (columns, all) };
    if k != inner {
        candle_core::bail!("a product of rows of {k} with a matrix [{all}, {columns}], transposed: {transposed}");
    }
    let mut y = uninit(rows * n);
    if all == 0 {
        y.fill(0.0);
    }
    let step = block_length(k);
    let at_once = rows_at_once(all, columns).min(all);
    let mut buffer = uninit(at_once * columns);
    with_slice(x, |x| {
        for first in (0..all).step_by(at_once.max(1)) {
            let count = at_once.min(all - first);
            let part = &mut buffer[..count * columns];
            expand(isa, weight, first, part)?;
            let part = Rhs::F32(Mat::new(part, count, columns));
            if transposed {
                let x = Mat::strided(x.get(first..).unwrap_or_default(), rows, count, k);
                matmul_part(isa, x, part, &mut MatMut::new(&mut y, rows, n), first > 0, step);
            } else {
                let place = y.get_mut(first..).unwrap_or_default();
                let mut y = MatMut::strided(place, rows, count, n);
                matmul_part(isa, Mat::new(x, rows, k), part.t(), &mut y, false, step);
            }
        }
        Ok::<_, candle_core::Error>(())
    })??;
    from_vec(y, (rows, n))
}

/// [`product_few`](super::product_few) with a matrix that is expanded in parts.
///
/// # Errors
/// As [`product_by_rows`].
pub fn product_few_by_rows(compute: Compute, x: &Tensor, weight: &dyn RowSource) -> Result<Tensor> {
    if !compute.is_fused() {
        return product_by_rows(compute, x, weight, false);
    }
    let (rows, k) = x.dims2()?;
    if k != weight.columns() {
        candle_core::bail!("a product of rows of {k} with rows of {} elements", weight.columns());
    }
    let mut y = uninit(rows * weight.rows());
    with_slice(x, |x| skinny_by_rows(compute.isa, x, weight, &mut y))??;
    from_vec(y, (rows, weight.rows()))
}

/// The whole matrix, `[rows, columns]` in f32.
///
/// # Errors
/// If rows cannot be had.
pub fn expand_all(isa: Isa, weight: &dyn RowSource) -> Result<Tensor> {
    let (rows, columns) = (weight.rows(), weight.columns());
    // Every element is written, or the expanding fails and the buffer is dropped.
    let mut all = uninit(rows * columns);
    crate::memory::prefer_large_pages(&all);
    expand(isa, weight, 0, &mut all)?;
    Tensor::from_vec(all, (rows, columns), &Device::Cpu)
}

/// Writes the rows from `first` on with all threads.
fn expand(isa: Isa, weight: &dyn RowSource, first: usize, out: &mut [f32]) -> Result<()> {
    let columns = weight.columns();
    let rows = (A_TASK / columns.max(1)).max(1);
    let part = |(i, part): (usize, &mut [f32])| weight.expand(isa, first + i * rows, part);
    out.par_chunks_mut((rows * columns).max(1)).enumerate().try_for_each(part)
}

#[cfg(test)]
mod tests {
    use super::super::{product, product_few};
    use super::*;

    /// Rows that are there, counted as they are asked for.
    struct Known<'a> {
        all: &'a [f32],
        columns: usize,
        asked: std::sync::atomic::AtomicUsize,
    }

    impl RowSource for Known<'_> {
        fn rows(&self) -> usize {
            self.all.len() / self.columns
        }

        fn columns(&self) -> usize {
            self.columns
        }

        fn expand(&self, _: Isa, first: usize, out: &mut [f32]) -> Result<()> {
            let rows = out.len() / self.columns;
            assert_eq!(rows * self.columns, out.len());
            self.asked.fetch_add(rows, std::sync::atomic::Ordering::Relaxed);
            out.copy_from_slice(&self.all[first * self.columns..][..out.len()]);
            Ok(())
        }
    }

    fn values(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    fn bits(t: &Tensor) -> Vec<u32> {
        t.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
    }

    #[test]
    fn the_bits_are_those_of_the_expanded_matrix() {
        let cpu = &Device::Cpu;
        // One part and several, with rows left over; sums of one block and of several.
        for (rows, all, columns) in [(1, 1, 8), (3, 40, 24), (5, 1000, 7), (7, 3001, 2100), (2, 9000, 600), (0, 50, 8)]
        {
            let weight = values(all * columns, 1);
            let tensor = Tensor::from_slice(&weight, (all, columns), cpu).unwrap();
            let source = || Known { all: &weight, columns, asked: 0.into() };
            let x = Tensor::from_vec(values(rows * columns, 2), (rows, columns), cpu).unwrap();
            let dy = Tensor::from_vec(values(rows * all, 3), (rows, all), cpu).unwrap();
            let known = source();
            let y = product_by_rows(Compute::cpu(), &x, &known, false).unwrap();
            assert_eq!(known.asked.into_inner(), all, "each row is expanded once");
            assert!(bits(&y) == bits(&product(Compute::cpu(), &x, &tensor, false).unwrap()), "{rows} {all} {columns}");
            let dx = product_by_rows(Compute::cpu(), &dy, &source(), true).unwrap();
            assert!(bits(&dx) == bits(&product(Compute::cpu(), &dy, &tensor, true).unwrap()), "{rows} {all} {columns}");
            let few = product_few_by_rows(Compute::cpu(), &x, &source()).unwrap();
            assert!(bits(&few) == bits(&product_few(Compute::cpu(), &x, &tensor).unwrap()), "{rows} {all} {columns}");
            assert!(bits(&expand_all(Isa::best(), &source()).unwrap()) == bits(&tensor));
        }
        assert!(rows_at_once(3001, 2100) < 3001 && rows_at_once(9000, 600) < 9000, "there are several parts");
    }

    #[test]
    fn a_row_knows_neither_its_neighbours_nor_the_threads() {
        let (rows, all, columns) = (6, 4000, 1100);
        let weight = values(all * columns, 4);
        let source = || Known { all: &weight, columns, asked: 0.into() };
        let x = Tensor::from_vec(values(rows * columns, 5), (rows, columns), &Device::Cpu).unwrap();
        let dy = Tensor::from_vec(values(rows * all, 6), (rows, all), &Device::Cpu).unwrap();
        let both = |x: &Tensor, dy: &Tensor| {
            let few = product_few_by_rows(Compute::cpu(), x, &source()).unwrap();
            let (y, dx) = (
                product_by_rows(Compute::cpu(), x, &source(), false).unwrap(),
                product_by_rows(Compute::cpu(), dy, &source(), true).unwrap(),
            );
            [bits(&y), bits(&dx), bits(&few)]
        };
        let whole = both(&x, &dy);
        for row in 0..rows {
            let alone = both(&x.narrow(0, row, 1).unwrap(), &dy.narrow(0, row, 1).unwrap());
            for ((whole, alone), width) in whole.iter().zip(&alone).zip([all, columns, all]) {
                assert!(whole[row * width..][..width] == alone[..], "row {row}");
            }
        }
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert!(pool.install(|| both(&x, &dy)) == whole, "{threads} threads");
        }
    }

    #[test]
    fn rows_of_another_length_are_refused() {
        let weight = values(40, 7);
        let source = Known { all: &weight, columns: 8, asked: 0.into() };
        let x = Tensor::zeros((2, 7), candle_core::DType::F32, &Device::Cpu).unwrap();
        for error in
            [product_by_rows(Compute::cpu(), &x, &source, false), product_few_by_rows(Compute::cpu(), &x, &source)]
        {
            assert!(error.unwrap_err().to_string().contains("rows of 7"));
        }
    }
}
