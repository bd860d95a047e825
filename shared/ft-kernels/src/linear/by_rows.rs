//! The products of a frozen matrix that is not there as numbers: where it lies in blocks, products read those; else some
//! of its rows are expanded at a time.
//!
//! Their bits are those of [`product`](super::product) and [`product_few`](super::product_few) with the whole matrix
//! expanded. A row of `W` is a column of `x·Wᵀ`, and columns do not know each other. In `x·W` the rows are what is
//! summed over: there each part is whole blocks of that sum, which `gemm` adds to what stands in the result anyway.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};
use rayon::prelude::*;

use crate::backend::Isa;
use crate::gemm::{BlockMat, Mat, MatMut, Rhs, Tail, block_length, matmul_part};
use crate::quant::{BlockRows, expand_rows};

/// Elements that are expanded at a time: large enough for all threads, small beside a layer.
const AT_ONCE: usize = 1 << 21;
/// Elements that one thread expands at a time.
const A_TASK: usize = 1 << 14;

/// How many rows of a matrix `[rows, columns]` are expanded at a time: whole blocks of a sum over the rows.
fn rows_at_once(rows: usize, columns: usize) -> usize {
    let step = block_length(rows);
    ((AT_ONCE / columns.max(1)) / step).max(1) * step
}

/// A matrix `[rows, columns]` of which some rows at a time can be had as numbers.
pub trait RowSource: std::fmt::Debug + Send + Sync {
    /// The number of rows.
    fn rows(&self) -> usize;

    /// The number of elements in a row.
    fn columns(&self) -> usize;

    /// Rows are had at the least cost in multiples of this many, from such a multiple on.
    fn granule(&self) -> usize {
        1
    }

    /// The bytes that it takes in memory.
    fn bytes(&self) -> usize;

    /// The rows where they lie, if that is in blocks in memory: products then read them there, and `expand` is not called.
    fn in_blocks(&self) -> Option<&dyn BlockRows> {
        None
    }

    /// Writes the rows from `first` on, a multiple of the granule, as many whole ones as there is room for, a multiple of
    /// it or up to the last one, on this thread and with these instructions, which change no bit.
    ///
    /// # Errors
    /// If they cannot be had.
    fn expand(&self, isa: Isa, first: usize, out: &mut [f32]) -> Result<()>;

    /// Rows as numbers of a type on a device, `[count, columns]`, which a kernel makes there; none where none can.
    ///
    /// # Errors
    /// If the kernel fails or the device has no room.
    fn expand_on(&self, _: &Device, _: DType, _first: usize, _count: usize) -> Result<Option<Tensor>> {
        Ok(None)
    }
}

/// Some adjacent rows of a matrix that can be expanded.
#[derive(Debug, Clone)]
pub struct Rows {
    source: Arc<dyn RowSource>,
    first: usize,
    count: usize,
}

impl Rows {
    /// All rows.
    pub fn new(source: Arc<dyn RowSource>) -> Self {
        let count = source.rows();
        Self { source, first: 0, count }
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.count
    }

    /// The number of elements in a row.
    pub fn columns(&self) -> usize {
        self.source.columns()
    }

    /// The rows `first .. first + count` of these.
    pub(super) fn narrow(&self, first: usize, count: usize) -> Result<Self> {
        if first.checked_add(count).is_none_or(|end| end > self.count) {
            candle_core::bail!("rows {first}+{count} of {}", self.count);
        }
        Ok(Self { source: Arc::clone(&self.source), first: self.first + first, count })
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.source, &other.source) && (self.first, self.count) == (other.first, other.count)
    }

    /// The bytes that they take, as their share of the source's.
    pub(super) fn bytes(&self) -> usize {
        match self.source.rows() {
            all if all == self.count => self.source.bytes(),
            all => (self.source.bytes() as u128 * self.count as u128 / all.max(1) as u128) as usize,
        }
    }

    /// In multiples of how many rows these are had at the least cost, where they begin at such a multiple.
    pub(crate) fn granule(&self) -> usize {
        self.source.granule().max(1)
    }

    /// The source's rows where they lie, if that is in blocks in memory, and the first of these among them.
    pub(crate) fn in_blocks(&self) -> Option<(&dyn BlockRows, usize)> {
        Some((self.source.in_blocks()?, self.first))
    }

    /// The bytes of the rows that a product expands at a time.
    pub(super) fn expanded_bytes(&self) -> usize {
        match self.in_blocks() {
            Some(_) => 0,
            None => rows_at_once(self.count, self.columns()).min(self.count) * self.columns() * size_of::<f32>(),
        }
    }

    /// The rows of the source that have to be expanded for these of its.
    fn cover(&self, from: usize, count: usize) -> std::ops::Range<usize> {
        let granule = self.granule();
        from / granule * granule..(from + count).next_multiple_of(granule).min(self.source.rows())
    }

    /// Writes the rows from `first` on, as many whole ones as there is room for, on this thread.
    pub(crate) fn expand(&self, isa: Isa, first: usize, out: &mut [f32]) -> Result<()> {
        let columns = self.columns();
        let (from, count) = (self.first + first, out.len() / columns.max(1));
        if first + count > self.count {
            candle_core::bail!("rows {first}+{count} of {}", self.count);
        }
        if let Some((source, own)) = self.in_blocks() {
            expand_rows(source, isa, (own + first, count), (0, columns), out, columns);
            return Ok(());
        }
        let cover = self.cover(from, count);
        if cover == (from..from + count) {
            return self.source.expand(isa, from, out);
        }
        let mut all = vec![0.0; cover.len() * columns];
        self.source.expand(isa, cover.start, &mut all)?;
        out.copy_from_slice(&all[(from - cover.start) * columns..][..out.len()]);
        Ok(())
    }

    /// Writes some rows with all threads to the buffer, which grows, and says where they are.
    fn expand_wide<'b>(&self, isa: Isa, first: usize, count: usize, buffer: &'b mut Vec<f32>) -> Result<&'b [f32]> {
        let (columns, from) = (self.columns(), self.first + first);
        let cover = self.cover(from, count);
        let len = cover.len() * columns;
        if buffer.len() < len {
            *buffer = vec![0.0; len];
            crate::memory::prefer_large_pages(buffer);
        }
        let rows = (A_TASK / columns.max(1)).max(1).next_multiple_of(self.granule());
        let parts = buffer[..len].par_chunks_mut((rows * columns).max(1)).enumerate();
        parts.try_for_each(|(i, part)| match self.source.in_blocks() {
            Some(source) => {
                let count = part.len() / columns.max(1);
                expand_rows(source, isa, (cover.start + i * rows, count), (0, columns), part, columns);
                Ok(())
            }
            None => self.source.expand(isa, cover.start + i * rows, part),
        })?;
        Ok(&buffer[(from - cover.start) * columns..][..count * columns])
    }

    /// The whole matrix on a device, where a kernel can make it there.
    pub(super) fn expand_on(&self, device: &Device, dtype: DType) -> Result<Option<Tensor>> {
        self.source.expand_on(device, dtype, self.first, self.count)
    }

    /// The whole matrix, `[rows, columns]` in f32.
    pub(super) fn expand_all(&self, isa: Isa) -> Result<Tensor> {
        let mut buffer = Vec::new();
        let len = self.expand_wide(isa, 0, self.count, &mut buffer)?.len();
        if len < buffer.len() {
            let skipped = self.first - self.cover(self.first, self.count).start;
            buffer.drain(..skipped * self.columns());
            buffer.truncate(len);
        }
        Tensor::from_vec(buffer, (self.count, self.columns()), &Device::Cpu)
    }

    /// `y = x·Wᵀ` (or, with `transposed`, `x·W`), or that added to `y`, and what follows it. Blocks are read where they are
    /// packed; of what is none each row is expanded once.
    pub(super) fn multiply(
        &self,
        isa: Isa,
        x: Mat<'_, f32>,
        transposed: bool,
        y: &mut MatMut<'_>,
        accumulate: bool,
        tail: &Tail<'_>,
    ) -> Result<()> {
        let (all, columns) = (self.count, self.columns());
        let step = block_length(x.cols);
        if let Some((source, first)) = self.in_blocks() {
            let w = Rhs::Blocks(BlockMat::new(source, first, all, columns));
            matmul_part(isa, x, if transposed { w } else { w.t() }, y, accumulate, step, tail);
            return Ok(());
        }
        if all == 0 && transposed {
            matmul_part(isa, x, Rhs::F32(Mat::new(&[], 0, columns)), y, accumulate, step, tail);
        }
        let at_once = rows_at_once(all, columns).min(all);
        let mut buffer = Vec::new();
        for first in (0..all).step_by(at_once.max(1)) {
            let count = at_once.min(all - first);
            let part = Rhs::F32(Mat::new(self.expand_wide(isa, first, count, &mut buffer)?, count, columns));
            if transposed {
                let (x, last) = (x.cols_of(first, count), first + count == all);
                let nothing = Tail::default();
                matmul_part(isa, x, part, y, accumulate || first > 0, step, if last { tail } else { &nothing });
            } else {
                let tail = tail.of_columns(&(first..first + count));
                matmul_part(isa, x, part.t(), &mut y.cols_of(first, count), accumulate, step, &tail);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::super::{Weight, product, product_few};
    use super::*;
    use crate::backend::Compute;

    /// Rows that are there, counted as they are asked for.
    #[derive(Debug)]
    struct Known {
        all: Vec<f32>,
        columns: usize,
        granule: usize,
        asked: std::sync::atomic::AtomicUsize,
        /// The most that were asked for at a time.
        most: std::sync::atomic::AtomicUsize,
    }

    fn known(all: &[f32], columns: usize, granule: usize) -> Arc<Known> {
        Arc::new(Known { all: all.to_vec(), columns, granule, asked: 0.into(), most: 0.into() })
    }

    impl RowSource for Known {
        fn rows(&self) -> usize {
            self.all.len() / self.columns
        }

        fn columns(&self) -> usize {
            self.columns
        }

        fn granule(&self) -> usize {
            self.granule
        }

        fn bytes(&self) -> usize {
            4 * self.all.len()
        }

        fn expand(&self, _: Isa, first: usize, out: &mut [f32]) -> Result<()> {
            let rows = out.len() / self.columns;
            assert_eq!(rows * self.columns, out.len());
            assert!(first.is_multiple_of(self.granule));
            assert!(rows.is_multiple_of(self.granule) || first + rows == self.rows());
            self.asked.fetch_add(rows, Relaxed);
            self.most.fetch_max(rows, Relaxed);
            out.copy_from_slice(&self.all[first * self.columns..][..out.len()]);
            Ok(())
        }
    }

    fn weight(source: &Arc<Known>) -> Weight {
        Weight::of_rows(Arc::<Known>::clone(source))
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
            let values_of = values(all * columns, 1);
            let tensor = Tensor::from_slice(&values_of, (all, columns), cpu).unwrap();
            let x = Tensor::from_vec(values(rows * columns, 2), (rows, columns), cpu).unwrap();
            let dy = Tensor::from_vec(values(rows * all, 3), (rows, all), cpu).unwrap();
            for granule in [1, 7] {
                let source = known(&values_of, columns, granule);
                let compute = Compute::cpu();
                let y = product(compute, &x, weight(&source), false).unwrap();
                let asked = source.asked.load(Relaxed);
                assert!(granule > 1 || asked == all, "each row is expanded once");
                assert!(bits(&y) == bits(&product(compute, &x, &tensor, false).unwrap()), "{rows} {all} {columns}");
                let dx = product(compute, &dy, weight(&source), true).unwrap();
                assert!(bits(&dx) == bits(&product(compute, &dy, &tensor, true).unwrap()), "{rows} {all} {columns}");
                let few = product_few(compute, &x, weight(&source)).unwrap();
                assert!(bits(&few) == bits(&product_few(compute, &x, &tensor).unwrap()), "{rows} {all} {columns}");
                assert!(bits(&weight(&source).widened().unwrap()) == bits(&tensor));
                let (first, count) = (all / 3, all / 2);
                let (part, of_tensor) =
                    (weight(&source).narrow(first, count).unwrap(), tensor.narrow(0, first, count).unwrap());
                assert!(bits(&part.widened().unwrap()) == bits(&of_tensor));
                let few = product_few(compute, &x, &part).unwrap();
                assert!(bits(&few) == bits(&product_few(compute, &x, &of_tensor).unwrap()));
                let y = product(compute, &x, &part, false).unwrap();
                assert!(bits(&y) == bits(&product(compute, &x, &of_tensor, false).unwrap()));
            }
        }
        assert!(rows_at_once(3001, 2100) < 3001 && rows_at_once(9000, 600) < 9000, "there are several parts");
    }

    #[test]
    fn a_few_rows_never_expand_more_than_a_few() {
        let (all, columns) = (4000, 576);
        let source = known(&values(all * columns, 8), columns, 1);
        let x = Tensor::from_vec(values(2 * columns, 9), (2, columns), &Device::Cpu).unwrap();
        product_few(Compute::cpu(), &x, weight(&source)).unwrap();
        let (asked, most) = (source.asked.load(Relaxed), source.most.load(Relaxed));
        assert_eq!(asked, all, "each row is expanded once");
        assert!(most <= 24, "{most} rows at a time");
    }

    #[test]
    fn a_row_knows_neither_its_neighbours_nor_the_threads() {
        let (rows, all, columns) = (6, 4000, 1100);
        let source = known(&values(all * columns, 4), columns, 3);
        let x = Tensor::from_vec(values(rows * columns, 5), (rows, columns), &Device::Cpu).unwrap();
        let dy = Tensor::from_vec(values(rows * all, 6), (rows, all), &Device::Cpu).unwrap();
        let both = |x: &Tensor, dy: &Tensor| {
            let few = product_few(Compute::cpu(), x, weight(&source)).unwrap();
            let y = product(Compute::cpu(), x, weight(&source), false).unwrap();
            let dx = product(Compute::cpu(), dy, weight(&source), true).unwrap();
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
        let source = known(&values(40, 7), 8, 1);
        let x = Tensor::zeros((2, 7), candle_core::DType::F32, &Device::Cpu).unwrap();
        let compute = Compute::cpu();
        for error in [product(compute, &x, weight(&source), false), product_few(compute, &x, weight(&source))] {
            assert!(error.unwrap_err().to_string().contains("rows of 7"));
        }
        assert!(weight(&source).narrow(3, 3).is_err());
        assert!(weight(&source).look_up(&[5]).is_err());
    }
}
