//! Batches of any size in parts.

use arrow::array::RecordBatch;
use arrow::error::ArrowError;

/// Rows of a part of a batch, and their bytes, at most.
const PART_ROWS: usize = 8192;
const PART_BYTES: usize = 512 << 20;

/// A batch of any size in parts: each with less text than the offsets of a text column can tell.
#[derive(Default)]
pub(crate) struct Parts {
    batch: Option<RecordBatch>,
    /// Rows that were given out.
    from: usize,
    /// Rows of a part.
    rows: usize,
}

impl Parts {
    /// The next part, of the batch at hand or of the one that `read` gives.
    pub fn next(
        &mut self,
        mut read: impl FnMut() -> Option<Result<RecordBatch, ArrowError>>,
    ) -> Result<Option<RecordBatch>, ArrowError> {
        loop {
            if let Some(batch) = &self.batch
                && self.from < batch.num_rows()
            {
                let rows = self.rows.min(batch.num_rows() - self.from);
                self.from += rows;
                return Ok(Some(batch.slice(self.from - rows, rows)));
            }
            let Some(batch) = read().transpose()? else {
                return Ok(None);
            };
            let mean = batch.get_array_memory_size() / batch.num_rows().max(1);
            (self.rows, self.from) = ((PART_BYTES / mean.max(1)).clamp(1, PART_ROWS), 0);
            self.batch = Some(batch);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, UInt32Array};

    use super::*;

    #[test]
    fn a_batch_of_any_size_comes_in_parts() {
        let batch = |rows: u32| {
            let column: ArrayRef = Arc::new(UInt32Array::from_iter_values(0..rows));
            RecordBatch::try_from_iter([("n", column)]).unwrap()
        };
        let mut batches = [20_000, 0, 5].map(batch).into_iter();
        let mut parts = Parts::default();
        let mut rows = Vec::new();
        while let Some(part) = parts.next(|| batches.next().map(Ok)).unwrap() {
            rows.push(part.num_rows());
        }
        assert_eq!(rows, [8192, 8192, 3616, 5]);
    }
}
