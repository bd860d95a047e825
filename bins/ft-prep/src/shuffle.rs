//! Rows in a random order that the seed decides.

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{interleave_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use ft_table::RowBuffer;

use crate::random::nth;

/// Rows of one batch that is given out.
const BATCH_ROWS: usize = 8192;

/// Every row has a random key by its number, and the rows come out in the order of their keys. Keys are dealt out to
/// buckets by their size, each of which fits into memory; the order does not depend on how many there are.
pub struct Shuffler {
    seed: u64,
    rows: u64,
    buckets: Vec<Bucket>,
}

struct Bucket {
    rows: RowBuffer,
    keys: Vec<u64>,
}

impl Shuffler {
    /// For about `bytes` of rows, of which `limit` may be in memory.
    pub fn new(schema: &SchemaRef, seed: u64, bytes: usize, limit: usize) -> Self {
        let buckets = bytes / limit + 1;
        // One bucket is in memory anyway; of several each waits in a file.
        let held = if buckets == 1 { usize::MAX } else { 0 };
        let bucket = || Bucket { rows: RowBuffer::new(schema.clone(), held), keys: Vec::new() };
        Self { seed, rows: 0, buckets: (0..buckets).map(|_| bucket()).collect() }
    }

    /// Takes rows.
    pub fn push(&mut self, batch: &RecordBatch) -> anyhow::Result<()> {
        let n = batch.num_rows() as u64;
        let keys: Vec<u64> = (self.rows..self.rows + n).map(|row| nth(self.seed, row)).collect();
        self.rows += n;
        let count = self.buckets.len() as u128;
        let bucket_of = |key: u64| ((u128::from(key) * count) >> 64) as usize;
        for (number, bucket) in self.buckets.iter_mut().enumerate() {
            let chosen = (0..keys.len()).filter(|&row| bucket_of(keys[row]) == number);
            let rows: UInt32Array = chosen.clone().map(|row| row as u32).collect();
            bucket.keys.extend(chosen.map(|row| keys[row]));
            bucket.rows.push(take_record_batch(batch, &rows)?)?;
        }
        Ok(())
    }

    /// Gives the rows out.
    pub fn finish(self, mut emit: impl FnMut(RecordBatch) -> anyhow::Result<()>) -> anyhow::Result<()> {
        for bucket in self.buckets {
            ft_io::interrupt::check()?;
            let batches: Vec<_> = bucket.rows.into_batches()?.collect::<Result<_, _>>()?;
            let places =
                batches.iter().enumerate().flat_map(|(i, batch)| (0..batch.num_rows()).map(move |row| (i, row)));
            let mut order: Vec<_> = bucket.keys.into_iter().zip(places).collect();
            order.sort_unstable();
            let batches: Vec<_> = batches.iter().collect();
            for part in order.chunks(BATCH_ROWS) {
                let rows: Vec<_> = part.iter().map(|(_, place)| *place).collect();
                emit(interleave_record_batch(&batches, &rows)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, UInt64Array};
    use arrow::datatypes::UInt64Type;

    use super::*;

    fn shuffled(seed: u64, limit: usize) -> Vec<u64> {
        let batch = |from: u64| {
            let column: ArrayRef = Arc::new(UInt64Array::from_iter_values(from..from + 100));
            RecordBatch::try_from_iter([("n", column)]).unwrap()
        };
        let mut shuffler = Shuffler::new(&batch(0).schema(), seed, 8000, limit);
        for i in 0..10 {
            shuffler.push(&batch(100 * i)).unwrap();
        }
        let mut all = Vec::new();
        shuffler
            .finish(|batch| {
                all.extend(batch.column(0).as_primitive::<UInt64Type>().values());
                Ok(())
            })
            .unwrap();
        all
    }

    #[test]
    fn the_order_is_the_seeds_however_much_fits_into_memory() {
        let order = shuffled(1, 1 << 20);
        assert_eq!(shuffled(1, 1000), order);
        assert_eq!(shuffled(1, 3000), order);
        assert_ne!(shuffled(2, 1000), order);
        assert!(!order.is_sorted());
        let mut sorted = order;
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..1000));
    }
}
