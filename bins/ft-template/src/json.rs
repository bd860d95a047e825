//! Any column's values as JSON, for the template.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Field, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use ft_table::schema::is_json;
use serde_json::{Map, Value};

/// Whether the type can be given to a template: texts, numbers, flags, and lists and
/// structs of these.
pub fn is_supported(kind: &DataType) -> bool {
    match kind {
        DataType::Null
        | DataType::Boolean
        | DataType::Float32
        | DataType::Float64
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View => true,
        DataType::List(item) | DataType::LargeList(item) => is_supported(item.data_type()),
        DataType::Struct(fields) => fields.iter().all(|field| is_supported(field.data_type())),
        DataType::Map(entries, _) => is_supported(entries.data_type()),
        other => other.is_integer(),
    }
}

/// The value of a field at `row`: what its text says where it is one of JSON by its own account (`arrow.json`).
pub fn field_value(field: &Field, array: &ArrayRef, row: usize) -> Value {
    let found = value(array, row);
    match &found {
        Value::String(text) if is_json(field) => serde_json::from_str(text).unwrap_or(found),
        _ => found,
    }
}

/// The value at `row`; null for types that are not supported.
pub fn value(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).into(),
        DataType::Float32 => f64::from(array.as_primitive::<Float32Type>().value(row)).into(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row).into(),
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).into(),
        DataType::Utf8View => array.as_string_view().value(row).into(),
        DataType::List(item) => list(item, &array.as_list::<i32>().value(row)),
        DataType::LargeList(item) => list(item, &array.as_list::<i64>().value(row)),
        DataType::Struct(_) => {
            let fields = array.as_struct();
            let named = fields.fields().iter().zip(fields.columns());
            Value::Object(named.map(|(f, column)| (f.name().clone(), field_value(f, column, row))).collect())
        }
        DataType::Map(..) => map(&array.as_map().value(row)),
        _ => Value::Null,
    }
}

fn list(item: &Field, items: &ArrayRef) -> Value {
    (0..items.len()).map(|i| field_value(item, items, i)).collect()
}

/// The entries of a map: a struct of keys and values.
fn map(entries: &arrow::array::StructArray) -> Value {
    let (keys, values) = (entries.column(0), entries.column(1));
    let key = |i: usize| match value(keys, i) {
        Value::String(text) => text,
        other => other.to_string(),
    };
    Value::Object((0..entries.len()).map(|i| (key(i), value(values, i))).collect::<Map<_, _>>())
}

/// A value that may be given as the text of a JSON document.
///
/// # Errors
/// What is wrong with the text.
pub fn parsed(value: Value) -> Result<Value, String> {
    match value {
        Value::String(text) if text.trim().is_empty() => Ok(Value::Null),
        Value::String(text) => serde_json::from_str(&text).map_err(|e| format!("is not JSON: {e}")),
        other => Ok(other),
    }
}
