//! What is read: Parquet of conversations or documents as they are, and any other rows whose shape ft-table knows.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use arrow::array::{ArrayRef, StringArray, UInt64Array, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use ft_io::{InputDigest, Source};
use ft_table::schema::{INPUT_IDS, MESSAGES, REFERENCE, SOURCE_ROW};
use ft_table::shapes::{Reading, Shape, shape_names};
use ft_table::{Data, ParquetBatches, ParquetTable, Rows, TableReader};
use serde_json::Value;

use crate::accepted::{check, holds_documents};
use crate::conversations::Conversations;

/// An input that is open.
pub enum Input {
    /// Messages, or documents, whose every field goes to the template.
    Parquet(Box<ParquetTable>),
    /// Rows that become messages or documents first.
    Shaped(Box<Shaped>),
}

/// Rows of a known shape.
pub struct Shaped {
    reader: TableReader,
    shape: Shape,
    reading: Reading,
    /// Rows that were read to learn the columns' types.
    first: Rows,
}

impl Input {
    /// Opens `source`, of whatever format.
    ///
    /// # Errors
    /// If it cannot be read, has no rows, or no shape that is known.
    pub fn open(source: &Source) -> Result<Self> {
        let mut reader = TableReader::open(source, None)?;
        let reading = Reading::default();
        let shape = Shape::detect(reader.columns(), &reading);
        let is_plain = |table: &ParquetTable| {
            let schema = table.schema();
            holds_documents(schema) || table.has(MESSAGES) || table.has(INPUT_IDS) || shape.is_none()
        };
        if reader.parquet().is_some_and(is_plain) {
            let table = reader.into_parquet().context("a Parquet file is none any more")?;
            if !holds_documents(table.schema()) {
                check(table.name(), table.schema())?;
            }
            return Ok(Self::Parquet(Box::new(table)));
        }
        let name = reader.name().to_owned();
        let Some(shape) = shape else {
            bail!(
                "{name}: its columns tell no shape (there are: {}); known are {}; ft-prep reads any other, with \
                 --input-column and --output-column",
                reader.columns().join(", "),
                shape_names()
            );
        };
        let first = reader.next_rows()?.with_context(|| format!("{name}: has no rows"))?;
        Ok(Self::Shaped(Box::new(Shaped { reader, shape, reading, first })))
    }

    /// The input as the user named it.
    pub fn name(&self) -> &str {
        match self {
            Self::Parquet(table) => table.name(),
            Self::Shaped(shaped) => shaped.reader.name(),
        }
    }

    /// Whether its rows are documents.
    pub fn holds_documents(&self) -> bool {
        match self {
            Self::Parquet(table) => holds_documents(table.schema()),
            Self::Shaped(shaped) => shaped.shape.text.is_some(),
        }
    }

    /// Its columns; of JSON the keys that its beginning has, as text, but for the number of a row's source.
    pub fn schema(&self) -> SchemaRef {
        let shaped = match self {
            Self::Parquet(table) => return table.schema().clone(),
            Self::Shaped(shaped) => shaped,
        };
        if let Data::Columns(batch) = shaped.first.data() {
            return batch.schema();
        }
        let kind = |name: &str| if name == SOURCE_ROW { DataType::UInt64 } else { DataType::Utf8 };
        let fields = shaped.reader.columns().iter().map(|name| Field::new(name, kind(name), true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// How many rows there are, where that is known.
    pub fn num_rows(&self) -> Option<u64> {
        match self {
            Self::Parquet(table) => Some(table.num_rows()),
            Self::Shaped(_) => None,
        }
    }

    /// Its SHA-256, where that is known before it is read.
    pub fn sha256(&self) -> Option<&str> {
        match self {
            Self::Parquet(table) => Some(table.sha256()),
            Self::Shaped(_) => None,
        }
    }

    /// The rows, with the columns `kept`; of Parquet only `columns` are read.
    ///
    /// # Errors
    /// If a column is missing.
    pub fn batches(self, columns: &[&str], kept: &[&str]) -> Result<Batches> {
        let kept: Vec<String> = kept.iter().map(|&name| name.to_owned()).collect();
        let name = self.name().to_owned();
        let rows = match self {
            Self::Parquet(table) => Rest::Parquet(Box::new(table.batches(Some(columns))?)),
            Self::Shaped(shaped) => {
                tell_unread(&shaped, &kept);
                let Shaped { reader, shape, reading, first } = *shaped;
                Rest::Shaped { reader: Box::new(reader), shape: Box::new(shape), reading, first: Some(first) }
            }
        };
        Ok(Batches { name, kept, rows })
    }
}

/// Says which columns count for nothing.
fn tell_unread(shaped: &Shaped, kept: &[String]) {
    let is_read = |name: &&String| {
        let named = shaped.shape.columns().any(|column| column == *name) || kept.contains(name);
        named || name.as_str() == REFERENCE
    };
    let unread: Vec<&str> = shaped.reader.columns().iter().filter(|name| !is_read(name)).map(String::as_str).collect();
    if !unread.is_empty() {
        tracing::info!("{}: columns that are not read: {}", shaped.reader.name(), unread.join(", "));
    }
}

/// The rows of an [`Input`], some at a time.
pub struct Batches {
    name: String,
    kept: Vec<String>,
    rows: Rest,
}

enum Rest {
    Parquet(Box<ParquetBatches>),
    Shaped { reader: Box<TableReader>, shape: Box<Shape>, reading: Reading, first: Option<Rows> },
}

impl Batches {
    /// The next conversations or documents, or none at the end.
    ///
    /// # Errors
    /// At the first row that cannot be read.
    pub fn next(&mut self) -> Result<Option<Conversations>> {
        match &mut self.rows {
            Rest::Parquet(batches) => {
                let Some(batch) = batches.next().transpose()? else { return Ok(None) };
                Conversations::new(&batch, &self.kept).map(Some).with_context(|| self.name.clone())
            }
            Rest::Shaped { reader, shape, reading, first } => {
                let rows = match first.take() {
                    Some(rows) => Some(rows),
                    None => reader.next_rows()?,
                };
                let Some(rows) = rows else { return Ok(None) };
                let kept = self.kept.iter().map(|name| kept_column(&rows, name)).collect();
                Ok(Some(Conversations::of_rows(rows, shape, reading, kept)))
            }
        }
    }

    /// What the metadata say of an input that has been read to its end; none where it was said before.
    ///
    /// # Errors
    /// If what is left of it cannot be read.
    pub fn digest(&mut self, source: &Source) -> Result<Option<InputDigest>> {
        Ok(match &mut self.rows {
            Rest::Parquet(_) => None,
            Rest::Shaped { reader, .. } => Some(InputDigest { name: source.file_name(), sha256: reader.sha256()? }),
        })
    }
}

/// A column of a table as it is; cells of JSON as text, but for the number of a row's source.
fn kept_column(rows: &Rows, name: &str) -> ArrayRef {
    if let Data::Columns(batch) = rows.data() {
        let column = batch.column_by_name(name).cloned();
        return column.unwrap_or_else(|| new_null_array(&DataType::Utf8, rows.len()));
    }
    let cells = (0..rows.len()).map(|row| rows.value(row, name));
    if name == SOURCE_ROW {
        return Arc::new(cells.map(|cell| cell.as_u64()).collect::<UInt64Array>());
    }
    let text = |cell: &Value| match cell {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    Arc::new(cells.map(|cell| text(&cell)).collect::<StringArray>())
}
