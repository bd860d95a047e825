//! Parquet in, from files and pipes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use ft_io::{Source, caught};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::LogicalType;
use parquet::errors::ParquetError;

use crate::error::Error;
use crate::spool::{Spooled, spool};

/// Rows of one batch, and their bytes, at most.
const BATCH_ROWS: usize = 8192;
const BATCH_BYTES: usize = 512 << 20;

/// An open Parquet file: its footer is read, its rows are not.
#[derive(Debug)]
pub struct ParquetTable {
    name: String,
    sha256: String,
    metadata: HashMap<String, String>,
    builder: ParquetRecordBatchReaderBuilder<File>,
}

/// Opens a Parquet file, or spools standard input to an unlinked temporary
/// file, for the footer stands at the end.
///
/// # Errors
/// If it cannot be read, is empty, cut short or no Parquet.
pub fn read_parquet(source: &Source) -> Result<ParquetTable, Error> {
    ParquetTable::open(&source.name(), spool(source)?)
}

impl ParquetTable {
    pub(crate) fn open(name: &str, mut spooled: Spooled) -> Result<Self, Error> {
        check_magic(name, &mut spooled)?;
        let builder = guarded(|| ParquetRecordBatchReaderBuilder::try_new(spooled.file))
            .map_err(|error| Error::parquet_read(name, error))?;
        let pairs = builder.metadata().file_metadata().key_value_metadata();
        let metadata = pairs
            .into_iter()
            .flatten()
            .filter(|pair| pair.key != "ARROW:schema")
            .map(|pair| (pair.key.clone(), pair.value.clone().unwrap_or_default()))
            .collect();
        Ok(Self { name: name.into(), sha256: spooled.sha256, metadata, builder })
    }

    /// The input as the user named it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The columns and their types.
    pub fn schema(&self) -> &SchemaRef {
        self.builder.schema()
    }

    /// The key/value pairs of the footer, among them the provenance.
    pub fn metadata(&self) -> &HashMap<String, String> {
        &self.metadata
    }

    /// SHA-256 of the whole input, 64 hexadecimal digits.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// How many rows the footer promises.
    pub fn num_rows(&self) -> u64 {
        let rows = self.builder.metadata().file_metadata().num_rows();
        rows.max(0).unsigned_abs()
    }

    /// Fails with the columns that there are if one of `columns` is missing.
    ///
    /// # Errors
    /// [`Error::Format`].
    pub fn require(&self, columns: &[&str]) -> Result<(), Error> {
        for column in columns {
            if !self.has(column) {
                let present: Vec<_> = self.schema().fields().iter().map(|f| f.name()).collect();
                return Err(Error::missing_column(&self.name, column, &present));
            }
        }
        Ok(())
    }

    /// The columns of UUIDs, of which Arrow's types know nothing.
    pub(crate) fn uuid_columns(&self) -> Vec<String> {
        let leaves = self.builder.parquet_schema().columns().iter();
        let uuids =
            leaves.filter(|leaf| leaf.path().parts().len() == 1 && leaf.logical_type_ref() == Some(&LogicalType::Uuid));
        uuids.map(|leaf| leaf.name().to_owned()).collect()
    }

    /// Whether there is a column of this name.
    pub fn has(&self, column: &str) -> bool {
        self.schema().index_of(column).is_ok()
    }

    /// The rows, all columns or only the named ones (in the file's order).
    ///
    /// # Errors
    /// If a named column is missing.
    pub fn batches(self, columns: Option<&[&str]>) -> Result<ParquetBatches, Error> {
        let batch_rows = rows_of_a_batch(&self.builder);
        let mut builder = self.builder.with_batch_size(batch_rows);
        if let Some(columns) = columns {
            let mut indices = Vec::with_capacity(columns.len());
            for column in columns {
                let Ok(index) = builder.schema().index_of(column) else {
                    let present: Vec<_> = builder.schema().fields().iter().map(|f| f.name()).collect();
                    return Err(Error::missing_column(&self.name, column, &present));
                };
                indices.push(index);
            }
            let mask = ProjectionMask::roots(builder.parquet_schema(), indices);
            builder = builder.with_projection(mask);
        }
        let reader = guarded(|| builder.build()).map_err(|error| Error::parquet_read(&self.name, error))?;
        Ok(ParquetBatches { name: self.name, reader })
    }
}

/// As many rows as are far below the 2 GiB that the offsets of a text column can tell, by the largest mean of a group.
fn rows_of_a_batch(builder: &ParquetRecordBatchReaderBuilder<File>) -> usize {
    let groups = builder.metadata().row_groups().iter();
    let mean = groups.map(|group| group.total_byte_size().max(0) / group.num_rows().max(1)).max().unwrap_or(0);
    (BATCH_BYTES / mean.max(1) as usize).clamp(1, BATCH_ROWS)
}

/// The rows of a [`ParquetTable`], 8192 at a time, or fewer where they are long.
pub struct ParquetBatches {
    name: String,
    reader: ParquetRecordBatchReader,
}

impl Iterator for ParquetBatches {
    type Item = Result<RecordBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = caught(|| self.reader.next()).unwrap_or_else(|panic| Some(Err(ArrowError::ParquetError(panic))))?;
        Some(batch.map_err(|error| match error {
            ArrowError::IoError(_, source) => Error::Read { name: self.name.clone(), source },
            other => Error::parquet_read(&self.name, ParquetError::ArrowError(other.to_string())),
        }))
    }
}

/// A panic of the library as its error.
fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    caught(read).unwrap_or_else(|panic| Err(ParquetError::General(panic)))
}

/// Tells an empty file, a foreign one and a truncated one apart, where the
/// Parquet library would only speak of a corrupt footer.
fn check_magic(name: &str, spooled: &mut Spooled) -> Result<(), Error> {
    if spooled.len == 0 {
        return Err(Error::format(name, "is empty, expected Parquet"));
    }
    let mut ends = [0; 8];
    let read = |file: &mut File, ends: &mut [u8; 8]| {
        file.seek(SeekFrom::Start(0))?;
        file.read_exact(&mut ends[..4])?;
        file.seek(SeekFrom::End(-4))?;
        file.read_exact(&mut ends[4..])
    };
    if spooled.len >= 12 {
        read(&mut spooled.file, &mut ends).map_err(|source| Error::Read { name: name.into(), source })?;
    }
    if &ends[..4] != b"PAR1" {
        return Err(Error::format(name, "is not Parquet: it does not begin with 'PAR1'"));
    }
    if &ends[4..] != b"PAR1" {
        let told = format!(
            "is a truncated Parquet file: its {} bytes do not end with 'PAR1'; make or fetch it again",
            spooled.len
        );
        return Err(Error::format(name, told));
    }
    Ok(())
}
