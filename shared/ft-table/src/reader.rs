//! One reader for every format.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileReader, StreamReader};
use ft_io::Source;

use crate::delimited::Delimited;
use crate::detect::{ARROW_FILE, Format, detect};
use crate::encoding::TextEncoding;
use crate::error::Error;
use crate::foreign::refuse_foreign;
use crate::json::JsonReader;
use crate::parquet_in::{ParquetBatches, ParquetTable};
use crate::parts::Parts;
use crate::rows::{Data, Places, Rows};
use crate::schema::as_uuid;
use crate::spool::{Spooled, spool, spool_stream};
use crate::stream::ByteStream;
use crate::window::Window;

/// Reads CSV, TSV, JSON lines, a JSON array, Parquet, or Arrow (file or
/// stream), plain or compressed with gzip or zstd, from a file or a pipe, some
/// rows at a time.
pub struct TableReader {
    name: String,
    format: Format,
    columns: Vec<String>,
    inner: Inner,
    /// Rows read ahead to learn the columns.
    first: Option<Rows>,
    rows: u64,
    /// Known from the start where the input was hashed first.
    sha256: Option<String>,
    /// Columns of UUIDs.
    uuids: Vec<String>,
    /// Of Arrow's batches, which may hold a whole file.
    parts: Parts,
}

enum Inner {
    Delimited(Box<Delimited>),
    Json(Box<JsonReader>),
    Parquet(Option<Box<ParquetTable>>),
    ParquetRows(Box<ParquetBatches>),
    ArrowFile(Box<FileReader<BufReader<File>>>),
    ArrowStream(Box<StreamReader<BufReader<ByteStream>>>),
}

/// How an input is read.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// Its format; without one the content tells it, then the name.
    pub format: Option<Format>,
    /// The byte between the fields of CSV; without one the header and the first rows tell it.
    pub delimiter: Option<u8>,
    /// The encoding of its text; without one UTF-8, or UTF-16 where the first bytes are.
    pub encoding: Option<TextEncoding>,
    /// Whether rows of text that are not what they should be are left out ([`Rows::bad`]) and no error.
    pub lenient: bool,
}

impl TableReader {
    /// Opens `source`; without a `format`, the content tells it, then the
    /// name.
    ///
    /// # Errors
    /// If it cannot be read, is empty, or is not of the format.
    pub fn open(source: &Source, format: Option<Format>) -> Result<Self, Error> {
        Self::open_with(source, &ReadOptions { format, ..ReadOptions::default() })
    }

    /// Opens `source` as `options` say.
    ///
    /// # Errors
    /// As [`TableReader::open`].
    pub fn open_with(source: &Source, options: &ReadOptions) -> Result<Self, Error> {
        let &ReadOptions { format, delimiter, encoding, lenient } = options;
        let name = source.name();
        let mut stream = ByteStream::open(source, encoding)?;
        let head = stream.peek()?;
        if head.is_empty() {
            return Err(Error::format(name, "is empty"));
        }
        refuse_foreign(&name, head)?;
        let format = match format {
            Some(format) => format,
            None => detect(&name, head)?,
        };
        let arrow_file = head.starts_with(ARROW_FILE);
        let mut reader = Self {
            name,
            format,
            columns: Vec::new(),
            inner: Inner::Parquet(None),
            first: None,
            rows: 0,
            sha256: None,
            uuids: Vec::new(),
            parts: Parts::default(),
        };
        match format {
            Format::Csv | Format::Tsv => {
                let usual = if format == Format::Csv { b',' } else { b'\t' };
                let table = Delimited::new(stream, delimiter, usual, lenient)?;
                reader.columns = table.header().to_vec();
                reader.inner = Inner::Delimited(Box::new(table));
            }
            Format::Jsonl => reader.open_json(JsonReader::lines(Window::new(stream)?, lenient))?,
            Format::Json => reader.open_json(JsonReader::array(Window::new(stream)?, lenient))?,
            Format::Parquet => {
                let spooled = seekable(source, stream)?;
                reader.sha256 = Some(spooled.sha256.clone());
                let table = ParquetTable::open(&reader.name, spooled)?;
                reader.columns = names(table.schema());
                reader.uuids = table.uuid_columns();
                reader.inner = Inner::Parquet(Some(Box::new(table)));
            }
            Format::Arrow if arrow_file => {
                let spooled = seekable(source, stream)?;
                reader.sha256 = Some(spooled.sha256);
                let file = guarded(|| FileReader::try_new_buffered(spooled.file, None))
                    .map_err(|e| cut_short(&reader.name, e))?;
                reader.columns = names(&file.schema());
                reader.inner = Inner::ArrowFile(Box::new(file));
            }
            Format::Arrow => {
                let opened =
                    guarded(|| StreamReader::try_new_buffered(stream, None)).map_err(|e| cut_short(&reader.name, e))?;
                reader.columns = names(&opened.schema());
                reader.inner = Inner::ArrowStream(Box::new(opened));
            }
        }
        Ok(reader)
    }

    fn open_json(&mut self, mut json: JsonReader) -> Result<(), Error> {
        self.first = json.next_rows()?;
        self.columns = self.first.as_ref().map(Rows::columns).unwrap_or_default();
        self.inner = Inner::Json(Box::new(json));
        Ok(())
    }

    /// The table, where the input is Parquet of which nothing has been read.
    pub fn parquet(&self) -> Option<&ParquetTable> {
        match &self.inner {
            Inner::Parquet(table) => table.as_deref(),
            _ => None,
        }
    }

    /// The same for good.
    pub fn into_parquet(self) -> Option<ParquetTable> {
        match self.inner {
            Inner::Parquet(table) => table.map(|table| *table),
            _ => None,
        }
    }

    /// The input as the user named it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The format that was given or found.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The columns; for JSON, the keys of the first few thousand rows.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The first rows of JSON, which were read to learn the keys.
    pub fn first_rows(&self) -> Option<&Rows> {
        self.first.as_ref()
    }

    /// Reads only these columns from now on, where the format allows; call it
    /// before [`TableReader::next_rows`].
    ///
    /// # Errors
    /// If a column is missing.
    pub fn select(&mut self, columns: &[String]) -> Result<(), Error> {
        for column in columns {
            if !self.columns.contains(column) {
                return Err(Error::missing_column(&self.name, column, &self.columns));
            }
        }
        match &mut self.inner {
            Inner::Delimited(table) => table.select(columns),
            Inner::Parquet(table) => {
                if let Some(table) = table.take() {
                    let columns: Vec<_> = columns.iter().map(String::as_str).collect();
                    let batches = table.batches(Some(&columns))?;
                    self.inner = Inner::ParquetRows(Box::new(batches));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The next rows, or None at the end.
    ///
    /// # Errors
    /// At the first line or row that is broken, by its number.
    pub fn next_rows(&mut self) -> Result<Option<Rows>, Error> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        if let Inner::Parquet(table) = &mut self.inner
            && let Some(table) = table.take()
        {
            self.inner = Inner::ParquetRows(Box::new(table.batches(None)?));
        }
        let name = &self.name;
        let arrow = |error| cut_short(name, error);
        let batch = match &mut self.inner {
            Inner::Delimited(table) => return table.next_rows(),
            Inner::Json(json) => return json.next_rows(),
            Inner::Parquet(_) => None,
            Inner::ParquetRows(batches) => batches.next().transpose()?,
            Inner::ArrowFile(file) => guarded(|| self.parts.next(|| file.next())).map_err(arrow)?,
            Inner::ArrowStream(stream) => guarded(|| self.parts.next(|| stream.next())).map_err(arrow)?,
        };
        batch.map(|batch| self.number(&batch)).transpose()
    }

    fn number(&mut self, batch: &RecordBatch) -> Result<Rows, Error> {
        let batch = guarded(|| unpack(batch, &self.uuids)).map_err(|error| cut_short(&self.name, error))?;
        let places = Places::From(self.rows + 1);
        self.rows += batch.num_rows() as u64;
        let name = self.name.as_str().into();
        Ok(Rows::new(Data::Columns(batch), name, places))
    }

    /// SHA-256 of the whole input as it lies there; reads what is left of it.
    ///
    /// # Errors
    /// If that cannot be read.
    pub fn sha256(&mut self) -> Result<String, Error> {
        if let Some(known) = &self.sha256 {
            return Ok(known.clone());
        }
        match &mut self.inner {
            Inner::Delimited(table) => table.sha256(),
            Inner::Json(json) => json.sha256(),
            Inner::ArrowStream(stream) => stream.get_mut().get_mut().sha256(),
            Inner::Parquet(_) | Inner::ParquetRows(_) | Inner::ArrowFile(_) => Ok(String::new()),
        }
    }
}

/// Dictionary columns and the rarer kinds of text as what they stand for, so
/// that the rest of the house sees plain text only.
fn unpack(batch: &RecordBatch, uuids: &[String]) -> Result<RecordBatch, ArrowError> {
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let packed = match field.data_type() {
            DataType::Dictionary(_, value) => value,
            other => other,
        };
        let plain = match packed {
            DataType::LargeUtf8 | DataType::Utf8View => &DataType::Utf8,
            other => other,
        };
        let nullable = field.is_nullable() || column.is_nullable();
        let field = Field::new(field.name(), plain.clone(), nullable).with_metadata(field.metadata().clone());
        fields.push(if uuids.contains(field.name()) { as_uuid(field) } else { field });
        columns.push(cast(column, plain)?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
}

fn names(schema: &SchemaRef) -> Vec<String> {
    schema.fields().iter().map(|f| f.name().clone()).collect()
}

/// A plain file as it is; a pipe or a compressed file through a temporary
/// one.
fn seekable(source: &Source, stream: ByteStream) -> Result<Spooled, Error> {
    if let Some(path) = source.path()
        && path.is_file()
        && !compressed(path)
    {
        return spool(source);
    }
    spool_stream(stream)
}

/// Whether the file's own bytes are not what the stream gives.
fn compressed(path: &std::path::Path) -> bool {
    let mut magic = [0; 4];
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(0))?;
        file.read_exact(&mut magic)
    });
    read.is_err() || !(&magic == b"PAR1" || ARROW_FILE.starts_with(&magic))
}

/// A panic of the library as its error.
fn guarded<T>(read: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, ArrowError> {
    ft_io::caught(read).unwrap_or_else(|panic| Err(ArrowError::IpcError(panic)))
}

fn cut_short(name: &str, error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, source) if source.kind() == std::io::ErrorKind::UnexpectedEof => {
            Error::format(name, "is cut short: it ends inside its Arrow data")
        }
        other => Error::arrow_read(name, other),
    }
}
