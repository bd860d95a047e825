//! Parquet out: row groups are encoded on the thread pool and written in
//! order, to a file that appears whole or to stdout.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, SchemaRef};
use ft_io::Target;
use ft_io::output::Output;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use crate::error::Error;

/// A row group ends at the first batch that reaches one of these. The bytes
/// are those of the arrays in memory; two groups a thread are held at most.
const GROUP_ROWS: usize = 1 << 17;
const GROUP_BYTES: usize = 16 << 20;

type Encoded = Result<Vec<ArrowColumnChunk>, ParquetError>;

/// Writes batches of one schema. Equal batches in equal order give equal
/// bytes, whatever the number of threads.
pub struct ParquetWriter {
    name: String,
    schema: SchemaRef,
    file: SerializedFileWriter<Output>,
    factory: ArrowRowGroupWriterFactory,
    pending: Vec<RecordBatch>,
    pending_rows: usize,
    pending_bytes: usize,
    groups: usize,
    in_flight: VecDeque<Receiver<Encoded>>,
    rows: u64,
}

impl ParquetWriter {
    /// Opens `target` for rows of `schema`. `metadata` goes to the footer, for
    /// instance [`ft_io::Provenance::to_pairs`].
    ///
    /// # Errors
    /// If the target cannot be created or Parquet has no such type.
    pub fn create(target: &Target, schema: SchemaRef, metadata: &[(String, String)]) -> Result<Self, Error> {
        let name = target.name();
        let output = target.create()?;
        let failed = |error| Error::parquet_write(&name, error);
        let properties = properties(&schema, metadata);
        let writer = ArrowWriter::try_new(output, schema.clone(), Some(properties)).map_err(failed)?;
        let (file, factory) = writer.into_serialized_writer().map_err(failed)?;
        Ok(Self {
            name,
            schema,
            file,
            factory,
            pending: Vec::new(),
            pending_rows: 0,
            pending_bytes: 0,
            groups: 0,
            in_flight: VecDeque::new(),
            rows: 0,
        })
    }

    /// Adds rows.
    ///
    /// # Errors
    /// If the batch has another schema, or earlier rows cannot be written.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        if batch.schema_ref().fields() != self.schema.fields() {
            let told = format!(
                "rows have other columns than the file: {:?}, expected {:?}",
                batch.schema_ref().fields(),
                self.schema.fields()
            );
            return Err(Error::format(&self.name, told));
        }
        self.pending_rows += batch.num_rows();
        self.pending_bytes += slice_bytes(batch);
        self.rows += batch.num_rows() as u64;
        self.pending.push(batch.clone());
        if self.pending_rows >= GROUP_ROWS || self.pending_bytes >= GROUP_BYTES {
            self.end_group()?;
        }
        Ok(())
    }

    /// Adds key/value pairs to the footer, such as digests that are known only
    /// at the end.
    pub fn add_metadata(&mut self, pairs: impl IntoIterator<Item = (String, String)>) {
        for (key, value) in pairs {
            self.file.append_key_value_metadata(KeyValue::new(key, value));
        }
    }

    /// The columns of the file.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows written so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes what is left and the footer, and gives the file its name.
    ///
    /// # Errors
    /// If the system refuses; then there is no file.
    pub fn finish(mut self) -> Result<(), Error> {
        self.end_group()?;
        while let Some(group) = self.in_flight.pop_front() {
            self.append(&group)?;
        }
        let name = self.name;
        let output = self.file.into_inner().map_err(|error| Error::parquet_write(&name, error))?;
        Ok(output.commit()?)
    }

    /// Ends the row group: hands its rows to the pool, and waits for the oldest
    /// group where two a thread are on their way. [`ParquetWriter::finish`]
    /// does it too; with several writers, end the groups of all before the
    /// first is finished, and they are encoded side by side.
    ///
    /// # Errors
    /// If earlier rows cannot be written.
    pub fn end_group(&mut self) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let batches = std::mem::take(&mut self.pending);
        (self.pending_rows, self.pending_bytes) = (0, 0);
        let writers =
            self.factory.create_column_writers(self.groups).map_err(|error| Error::parquet_write(&self.name, error))?;
        self.groups += 1;
        let schema = self.schema.clone();
        let (sender, receiver) = sync_channel(1);
        rayon::spawn(move || {
            // Nobody waits any more where the writer was dropped.
            let _ = sender.send(encode(&schema, writers, &batches));
        });
        self.in_flight.push_back(receiver);
        if self.in_flight.len() > 2 * rayon::current_num_threads()
            && let Some(oldest) = self.in_flight.pop_front()
        {
            self.append(&oldest)?;
        }
        Ok(())
    }

    fn append(&mut self, group: &Receiver<Encoded>) -> Result<(), Error> {
        append_group(&mut self.file, wait(group)).map_err(|error| Error::parquet_write(&self.name, error))
    }
}

/// Waits for a group without taking a thread from the pool that encodes it.
fn wait(group: &Receiver<Encoded>) -> Encoded {
    let lost = || Err(ParquetError::General("an encoding thread failed".into()));
    if rayon::current_thread_index().is_none() {
        return group.recv().unwrap_or_else(|_| lost());
    }
    loop {
        match group.try_recv() {
            Ok(encoded) => return encoded,
            Err(TryRecvError::Disconnected) => return lost(),
            Err(TryRecvError::Empty) => {
                if rayon::yield_now() != Some(rayon::Yield::Executed) {
                    thread::sleep(Duration::from_micros(100));
                }
            }
        }
    }
}

fn append_group(file: &mut SerializedFileWriter<Output>, chunks: Encoded) -> Result<(), ParquetError> {
    let chunks = chunks?;
    let mut group = file.next_row_group()?;
    for chunk in chunks {
        chunk.append_to_row_group(&mut group)?;
    }
    group.close()?;
    Ok(())
}

/// Encodes one row group, column by column.
fn encode(schema: &SchemaRef, mut writers: Vec<ArrowColumnWriter>, batches: &[RecordBatch]) -> Encoded {
    for batch in batches {
        let mut leaf_writers = writers.iter_mut();
        for (field, array) in schema.fields().iter().zip(batch.columns()) {
            for leaf in compute_leaves(field, array)? {
                let writer = leaf_writers
                    .next()
                    .ok_or_else(|| ParquetError::General("more columns than the schema has".into()))?;
                writer.write(&leaf)?;
            }
        }
    }
    writers.into_iter().map(ArrowColumnWriter::close).collect()
}

/// Bytes of the rows themselves, not of the buffers behind them.
pub(crate) fn slice_bytes(batch: &RecordBatch) -> usize {
    let bytes = |array: &arrow::array::ArrayRef| {
        array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size())
    };
    batch.columns().iter().map(bytes).sum()
}

/// Compression for all; no dictionary and no statistics for long text, which
/// would cost time and gain nothing.
fn properties(schema: &SchemaRef, metadata: &[(String, String)]) -> WriterProperties {
    let pairs = metadata.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect();
    let mut builder = WriterProperties::builder()
        .set_created_by(format!("ft {}", env!("CARGO_PKG_VERSION")))
        .set_key_value_metadata(Some(pairs))
        .set_compression(Compression::SNAPPY)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_max_row_group_row_count(None);
    for field in schema.fields() {
        builder = plain_text(builder, field, &mut Vec::new());
    }
    builder.build()
}

/// Turns statistics off for text, and the dictionary but for a message's role.
fn plain_text(builder: WriterPropertiesBuilder, field: &Field, path: &mut Vec<String>) -> WriterPropertiesBuilder {
    path.push(field.name().clone());
    let builder = match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let column = ColumnPath::new(path.clone());
            builder
                .set_column_dictionary_enabled(column.clone(), field.name() == "role")
                .set_column_statistics_enabled(column, EnabledStatistics::None)
        }
        DataType::List(item) | DataType::LargeList(item) => {
            path.push("list".into());
            let builder = plain_text(builder, item, path);
            path.pop();
            builder
        }
        DataType::Struct(fields) => fields.iter().fold(builder, |builder, field| plain_text(builder, field, path)),
        _ => builder,
    };
    path.pop();
    builder
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{examples_schema, tokens_schema};

    fn path(dotted: &str) -> ColumnPath {
        ColumnPath::new(dotted.split('.').map(str::to_owned).collect())
    }

    #[test]
    fn the_settings_of_text_reach_nested_columns() {
        let kept = Field::new("note", DataType::Utf8, true);
        let found = properties(&examples_schema([kept]), &[]);
        assert!(found.dictionary_enabled(&path("messages.list.item.role")));
        for text in ["messages.list.item.content", "note"] {
            assert!(!found.dictionary_enabled(&path(text)), "{text}");
            assert_eq!(found.statistics_enabled(&path(text)), EnabledStatistics::None);
        }
        let found = properties(&tokens_schema(), &[]);
        assert!(!found.dictionary_enabled(&path("text")));
        assert!(found.dictionary_enabled(&path("labels.list.item")));
    }
}
