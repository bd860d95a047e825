//! The columns that are kept beside the messages.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use ft_table::schema::{MESSAGES, TEXT};
use ft_table::{Data, Rows};
use serde_json::Value;

/// Cells of `column` in the rows `chosen`. Columns of a table keep their type;
/// cells of JSON become text: strings as they are, the rest as JSON.
pub fn kept_column(rows: &Rows, column: &str, chosen: &UInt32Array) -> Result<ArrayRef, ArrowError> {
    match rows.data() {
        Data::Columns(batch) => match batch.column_by_name(column) {
            Some(array) if chosen.len() == array.len() => Ok(array.clone()),
            Some(array) => take(array, chosen, None),
            None => Ok(new_null_array(&DataType::Utf8, chosen.len())),
        },
        Data::Objects(_) => {
            let cell = |&row: &u32| match &*rows.value(row as usize, column) {
                Value::Null => None,
                Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            };
            let cells: StringArray = chosen.values().iter().map(cell).collect();
            Ok(Arc::new(cells))
        }
    }
}

/// The field of such a column.
pub fn kept_field(rows: &Rows, column: &str) -> Field {
    let known = match rows.data() {
        Data::Columns(batch) => batch.schema_ref().field_with_name(column).ok().cloned(),
        Data::Objects(_) => None,
    };
    known.unwrap_or_else(|| Field::new(column, DataType::Utf8, true)).with_nullable(true)
}

/// The fields of a batch beside those before it: kept columns have the types of the first input, and what kind of rows
/// there are does not change.
pub fn agreed(before: &Schema, fields: Vec<Field>, columns: &[ArrayRef]) -> Result<Vec<Field>, String> {
    let is_documents = |name: Option<&str>| name == Some(TEXT);
    let first = before.fields().first().map(|field| field.name().as_str());
    if is_documents(first) != is_documents(fields.first().map(|field| field.name().as_str())) {
        return Err(format!(
            "conversations ('{MESSAGES}') and whole documents ('{TEXT}') do not go into one file; make one of each"
        ));
    }
    let of_first = |field: Field, column: &ArrayRef| match before.field_with_name(field.name()) {
        Ok(known) if field.name() == MESSAGES || known.data_type() == column.data_type() => {
            Ok(field.with_nullable(known.is_nullable()))
        }
        Ok(known) => {
            let (name, found, expected) = (field.name(), column.data_type(), known.data_type());
            Err(format!("column '{name}' is {found} here and {expected} in the first input"))
        }
        Err(_) => Ok(field),
    };
    fields.into_iter().zip(columns).map(|(field, column)| of_first(field, column)).collect()
}
