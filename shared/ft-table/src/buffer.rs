//! Rows that have to wait, in memory up to a limit and then in an unlinked
//! temporary file.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek, SeekFrom};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use crate::error::Error;
use crate::parquet_out::slice_bytes;

/// Keeps batches and gives them back in their order, unchanged.
pub struct RowBuffer {
    schema: SchemaRef,
    limit: usize,
    held: Vec<RecordBatch>,
    bytes: usize,
    spilled: Option<StreamWriter<BufWriter<File>>>,
}

impl RowBuffer {
    /// An empty buffer that holds up to about `limit` bytes in memory.
    pub fn new(schema: SchemaRef, limit: usize) -> Self {
        Self { schema, limit, held: Vec::new(), bytes: 0, spilled: None }
    }

    /// The schema of its rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Adds rows.
    ///
    /// # Errors
    /// [`Error::Spill`] if the temporary file cannot take them.
    pub fn push(&mut self, batch: RecordBatch) -> Result<(), Error> {
        self.bytes += slice_bytes(&batch);
        self.held.push(batch);
        if self.bytes <= self.limit {
            return Ok(());
        }
        if self.spilled.is_none() {
            let file = tempfile::tempfile().map_err(Error::Spill)?;
            let writer = StreamWriter::try_new_buffered(file, &self.schema).map_err(spill)?;
            self.spilled = Some(writer);
        }
        if let Some(writer) = &mut self.spilled {
            for batch in self.held.drain(..) {
                writer.write(&batch).map_err(spill)?;
            }
        }
        Ok(())
    }

    /// Whether the limit was passed.
    pub fn is_spilled(&self) -> bool {
        self.spilled.is_some()
    }

    /// Gives the batches back, each let go of as soon as it is given.
    ///
    /// # Errors
    /// [`Error::Spill`] if the temporary file fails.
    pub fn into_batches(self) -> Result<BufferedRows, Error> {
        let Some(mut writer) = self.spilled else {
            return Ok(BufferedRows::Held(self.held.into_iter()));
        };
        writer.finish().map_err(spill)?;
        let buffered = writer.into_inner().map_err(spill)?;
        let mut file = buffered.into_inner().map_err(|error| Error::Spill(error.into_error()))?;
        file.seek(SeekFrom::Start(0)).map_err(Error::Spill)?;
        let reader = StreamReader::try_new_buffered(file, None).map_err(spill)?;
        Ok(BufferedRows::Spilled(Box::new(reader)))
    }
}

/// The batches of a [`RowBuffer`].
pub enum BufferedRows {
    /// From memory.
    Held(std::vec::IntoIter<RecordBatch>),
    /// From the temporary file.
    Spilled(Box<StreamReader<BufReader<File>>>),
}

impl Iterator for BufferedRows {
    type Item = Result<RecordBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Held(batches) => batches.next().map(Ok),
            Self::Spilled(reader) => reader.next().map(|batch| batch.map_err(spill)),
        }
    }
}

fn spill(error: ArrowError) -> Error {
    Error::Spill(match error {
        ArrowError::IoError(_, source) => source,
        other => io::Error::other(other),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray};

    use super::*;

    #[test]
    fn gives_back_what_came_in_memory_or_not() {
        let batch = |i: usize| {
            let column: ArrayRef = Arc::new(StringArray::from(vec![format!("row {i}"); 100]));
            RecordBatch::try_from_iter([("a", column)]).unwrap()
        };
        for limit in [1 << 20, 2_000] {
            let mut buffer = RowBuffer::new(batch(0).schema(), limit);
            for i in 0..20 {
                buffer.push(batch(i)).unwrap();
            }
            assert_eq!(buffer.is_spilled(), limit < 1 << 20);
            let back: Vec<_> = buffer.into_batches().unwrap().collect::<Result<_, _>>().unwrap();
            assert_eq!(back, (0..20).map(batch).collect::<Vec<_>>());
        }
    }
}
