//! The columns that are kept beside the messages.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;
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
