//! Rows that have to wait, in memory up to a limit and then in an unlinked
//! temporary file.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek, SeekFrom};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use crate::conform::conform;
use crate::error::Error;
use crate::parquet_out::slice_bytes;

/// Keeps batches and gives them back in their order. Later batches may have more columns; all come back with the columns
/// of the last one, null where they had none ([`conform`]).
pub struct RowBuffer {
    limit: usize,
    bytes: usize,
    segments: Vec<Segment>,
    is_spilled: bool,
}

/// Batches of one schema.
struct Segment {
    schema: SchemaRef,
    held: Vec<RecordBatch>,
    spilled: Option<StreamWriter<BufWriter<File>>>,
}

impl RowBuffer {
    /// An empty buffer that holds up to about `limit` bytes in memory.
    pub fn new(schema: SchemaRef, limit: usize) -> Self {
        Self { limit, bytes: 0, segments: vec![Segment::new(schema)], is_spilled: false }
    }

    /// The schema of its rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.segments[self.segments.len() - 1].schema
    }

    /// Adds rows.
    ///
    /// # Errors
    /// [`Error::Spill`] if the temporary file cannot take them.
    pub fn push(&mut self, batch: RecordBatch) -> Result<(), Error> {
        if batch.schema_ref() != self.schema() {
            self.segments.push(Segment::new(batch.schema()));
        }
        self.bytes += slice_bytes(&batch);
        let last = self.segments.len() - 1;
        self.segments[last].held.push(batch);
        if self.bytes > self.limit {
            self.is_spilled = true;
            self.segments.iter_mut().try_for_each(Segment::spill)?;
        }
        Ok(())
    }

    /// Bytes of its rows.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the limit was passed.
    pub fn is_spilled(&self) -> bool {
        self.is_spilled
    }

    /// Gives the batches back, each let go of as soon as it is given.
    ///
    /// # Errors
    /// [`Error::Spill`] if the temporary file fails.
    pub fn into_batches(self) -> Result<BufferedRows, Error> {
        let schema = self.schema().clone();
        let segments = self.segments.into_iter().map(Segment::into_batches).collect::<Result<Vec<_>, _>>()?;
        Ok(BufferedRows { schema, segments: segments.into_iter(), current: None })
    }
}

impl Segment {
    fn new(schema: SchemaRef) -> Self {
        Self { schema, held: Vec::new(), spilled: None }
    }

    /// Moves what is held to the temporary file.
    fn spill(&mut self) -> Result<(), Error> {
        if self.held.is_empty() {
            return Ok(());
        }
        let mut writer = if let Some(writer) = self.spilled.take() {
            writer
        } else {
            let file = tempfile::tempfile().map_err(Error::Spill)?;
            StreamWriter::try_new_buffered(file, &self.schema).map_err(spill)?
        };
        for batch in self.held.drain(..) {
            writer.write(&batch).map_err(spill)?;
        }
        self.spilled = Some(writer);
        Ok(())
    }

    fn into_batches(self) -> Result<Batches, Error> {
        let Some(mut writer) = self.spilled else {
            return Ok(Batches::Held(self.held.into_iter()));
        };
        writer.finish().map_err(spill)?;
        let buffered = writer.into_inner().map_err(spill)?;
        let mut file = buffered.into_inner().map_err(|error| Error::Spill(error.into_error()))?;
        file.seek(SeekFrom::Start(0)).map_err(Error::Spill)?;
        let reader = StreamReader::try_new_buffered(file, None).map_err(spill)?;
        Ok(Batches::Spilled(Box::new(reader)))
    }
}

/// The batches of a [`RowBuffer`].
pub struct BufferedRows {
    schema: SchemaRef,
    segments: std::vec::IntoIter<Batches>,
    current: Option<Batches>,
}

/// The batches of one schema.
enum Batches {
    /// From memory.
    Held(std::vec::IntoIter<RecordBatch>),
    /// From the temporary file.
    Spilled(Box<StreamReader<BufReader<File>>>),
}

impl Iterator for BufferedRows {
    type Item = Result<RecordBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let batch = match &mut self.current {
                Some(Batches::Held(batches)) => batches.next().map(Ok),
                Some(Batches::Spilled(reader)) => reader.next(),
                None => None,
            };
            match batch {
                Some(batch) => return Some(batch.and_then(|batch| conform(&batch, &self.schema)).map_err(spill)),
                None => self.current = Some(self.segments.next()?),
            }
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

    use arrow::array::{Array, ArrayRef, StringArray};

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
    #[test]
    fn columns_that_come_later_are_null_before() {
        let column = |name: &str, cells: [&str; 2]| {
            (name.to_owned(), Arc::new(StringArray::from(cells.to_vec())) as ArrayRef, true)
        };
        let short = RecordBatch::try_from_iter_with_nullable([column("a", ["1", "2"])]).unwrap();
        let long = [column("a", ["3", "4"]), column("b", ["5", "6"])];
        let long = RecordBatch::try_from_iter_with_nullable(long).unwrap();
        for limit in [1 << 20, 0] {
            let mut buffer = RowBuffer::new(short.schema(), limit);
            for batch in [&short, &short, &long] {
                buffer.push(batch.clone()).unwrap();
            }
            let back: Vec<_> = buffer.into_batches().unwrap().collect::<Result<_, _>>().unwrap();
            assert_eq!(back.iter().map(|batch| batch.column(1).null_count()).collect::<Vec<_>>(), [2, 2, 0]);
            assert!(back.iter().all(|batch| batch.schema() == long.schema()));
        }
    }
}
