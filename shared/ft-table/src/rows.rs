//! Some rows of an input, in columns or as JSON objects.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::RecordBatch;
use serde_json::{Map, Value};

use crate::error::Error;
use crate::shapes::Reason;
use crate::value::cell_value;
use crate::window;

/// The rows themselves.
#[derive(Clone, Debug)]
pub enum Data {
    /// CSV (all columns text), Parquet, Arrow.
    Columns(RecordBatch),
    /// JSON objects, whose keys and types may differ from row to row.
    Objects(Vec<Map<String, Value>>),
}

/// A row that is not what it should be and was left out.
#[derive(Clone, Debug)]
pub struct BadRow {
    /// Its line or number, counted from 1.
    pub number: u64,
    /// Its kind.
    pub reason: Reason,
    /// What was expected and what was found.
    pub told: String,
    /// The row as it stands there, or its fields as a JSON list.
    pub text: String,
}

/// Some rows and where they stand in their input.
#[derive(Clone, Debug)]
pub struct Rows {
    data: Data,
    name: Arc<str>,
    places: Places,
    bad: Vec<BadRow>,
}

#[derive(Clone, Debug)]
pub(crate) enum Places {
    /// The line on which each row begins.
    Lines(Vec<u64>),
    /// The number of the first row, counted from 1.
    From(u64),
}

impl Rows {
    pub(crate) fn new(data: Data, name: Arc<str>, places: Places) -> Self {
        Self { data, name, places, bad: Vec::new() }
    }

    /// The same with the rows that were left out between them.
    pub(crate) fn with_bad(self, bad: Vec<BadRow>) -> Self {
        Self { bad, ..self }
    }

    /// The rows that were left out between these, where that was asked for.
    pub fn bad(&self) -> &[BadRow] {
        &self.bad
    }

    /// The line or number of a row, counted from 1.
    pub fn number(&self, row: usize) -> u64 {
        match &self.places {
            Places::Lines(lines) => lines[row],
            Places::From(first) => first + row as u64,
        }
    }

    /// The input as the user named it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many.
    pub fn len(&self) -> usize {
        match &self.data {
            Data::Columns(batch) => batch.num_rows(),
            Data::Objects(objects) => objects.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows themselves.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The columns of a table, or the keys of all objects in the order of
    /// their first appearance.
    pub fn columns(&self) -> Vec<String> {
        match &self.data {
            Data::Columns(batch) => {
                let schema = batch.schema();
                schema.fields().iter().map(|f| f.name().clone()).collect()
            }
            Data::Objects(objects) => {
                let mut keys = Map::new();
                for key in objects.iter().flat_map(Map::keys) {
                    if !keys.contains_key(key) {
                        keys.insert(key.clone(), Value::Null);
                    }
                }
                keys.into_iter().map(|(key, _)| key).collect()
            }
        }
    }

    /// Any cell as JSON; null where the row has no such column, and for binary that is no text.
    pub fn value(&self, row: usize, column: &str) -> Cow<'_, Value> {
        self.try_value(row, column).unwrap_or(Cow::Owned(Value::Null))
    }

    /// Any cell as JSON; null where the row has no such column.
    ///
    /// # Errors
    /// Words for binary that is no text.
    pub fn try_value(&self, row: usize, column: &str) -> Result<Cow<'_, Value>, String> {
        match &self.data {
            Data::Columns(batch) => Ok(Cow::Owned(match batch.schema_ref().column_with_name(column) {
                Some((index, field)) => cell_value(field, batch.column(index), row)?,
                None => Value::Null,
            })),
            Data::Objects(objects) => Ok(match objects[row].get(column) {
                Some(value) => Cow::Borrowed(value),
                None => Cow::Owned(Value::Null),
            }),
        }
    }

    /// Where a row stands, for messages: `data.csv, line 7` or
    /// `data.parquet, row 7`.
    pub fn place(&self, row: usize) -> String {
        match &self.places {
            Places::Lines(lines) => window::place(&self.name, lines[row]),
            Places::From(first) => format!("{}, row {}", self.name, first + row as u64),
        }
    }

    /// An error about one row.
    pub fn error(&self, row: usize, message: impl Into<String>) -> Error {
        Error::row(self.place(row), message)
    }
}
