//! Arrow cells as JSON values.

use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::datatypes::{
    DataType, Field, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Map, Value};

use crate::json_text::parse_value;
use crate::schema::{is_json, is_uuid};

/// One cell: text, numbers, booleans, lists, structs and maps become their JSON counterparts; binary becomes the text that
/// it is; JSON by its own account (`arrow.json`) what it says; anything else (dates, decimals) its text.
///
/// # Errors
/// Words for binary that is no text.
pub(crate) fn cell_value(field: &Field, array: &ArrayRef, row: usize) -> Result<Value, String> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match array.data_type() {
        DataType::Utf8 => text(field, array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => text(field, array.as_string::<i64>().value(row)),
        DataType::Utf8View => text(field, array.as_string_view().value(row)),
        DataType::Binary => bytes(field, array.as_binary::<i32>().value(row))?,
        DataType::LargeBinary => bytes(field, array.as_binary::<i64>().value(row))?,
        DataType::BinaryView => bytes(field, array.as_binary_view().value(row))?,
        DataType::FixedSizeBinary(_) => bytes(field, array.as_fixed_size_binary().value(row))?,
        DataType::List(item) => list(item, &array.as_list::<i32>().value(row))?,
        DataType::LargeList(item) => list(item, &array.as_list::<i64>().value(row))?,
        DataType::ListView(item) => list(item, &array.as_list_view::<i32>().value(row))?,
        DataType::LargeListView(item) => list(item, &array.as_list_view::<i64>().value(row))?,
        DataType::FixedSizeList(item, _) => list(item, &array.as_fixed_size_list().value(row))?,
        DataType::Struct(_) => object(array.as_struct(), row)?,
        DataType::Map(..) => map(&array.as_map().value(row))?,
        DataType::Dictionary(..) => {
            // Of one row only: the keys of all would be copied for each.
            let one = array.slice(row, 1);
            let dictionary = one.as_any_dictionary();
            cell_value(field, dictionary.values(), dictionary.normalized_keys()[0])?
        }
        _ => number(array, row).unwrap_or_else(|| shown(array, row)),
    })
}

fn text(field: &Field, text: &str) -> Value {
    if is_json(field)
        && let Ok(value) = parse_value(text)
    {
        return value;
    }
    text.into()
}

fn bytes(field: &Field, bytes: &[u8]) -> Result<Value, String> {
    if is_uuid(field)
        && let Ok(number) = <[u8; 16]>::try_from(bytes)
    {
        return Ok(uuid(number).into());
    }
    match std::str::from_utf8(bytes) {
        Ok(found) => Ok(text(field, found)),
        Err(fault) => {
            let bad = bytes.get(fault.valid_up_to()).map(|byte| format!(" (byte 0x{byte:02x})")).unwrap_or_default();
            let name = field.name();
            Err(format!("column '{name}' is binary that is no UTF-8{bad}, expected text; decode it before"))
        }
    }
}

/// As 8-4-4-4-12 hexadecimal digits.
fn uuid(bytes: [u8; 16]) -> String {
    let digits = format!("{:032x}", u128::from_be_bytes(bytes));
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

fn number(array: &ArrayRef, row: usize) -> Option<Value> {
    Some(match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).into(),
        DataType::Float16 => shortest(f64::from(array.as_primitive::<Float16Type>().value(row).to_f32()), |x| {
            f64::from(<Float16Type as arrow::array::ArrowPrimitiveType>::Native::from_f64(x).to_f32())
        }),
        DataType::Float32 => {
            shortest(f64::from(array.as_primitive::<Float32Type>().value(row)), |x| f64::from(x as f32))
        }
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row).into(),
        _ => return None,
    })
}

/// The number with the fewest digits that is `value` once it is `rounded` to the narrow type: 0.1, and not the
/// 0.10000000149011612 that the nearest f32 is. Null for what is no number.
fn shortest(value: f64, rounded: impl Fn(f64) -> f64) -> Value {
    let digits = (0..17).filter_map(|digits| format!("{value:.digits$e}").parse::<f64>().ok());
    digits.into_iter().find(|&short| rounded(short) == value).unwrap_or(value).into()
}

fn list(item: &Field, items: &ArrayRef) -> Result<Value, String> {
    (0..items.len()).map(|i| cell_value(item, items, i)).collect()
}

/// A struct without what is null in it: a table has one type for all rows, so that a row has the fields of all others too.
fn object(cells: &StructArray, row: usize) -> Result<Value, String> {
    let mut object = Map::new();
    for (field, column) in cells.fields().iter().zip(cells.columns()) {
        match cell_value(field, column, row)? {
            Value::Null => {}
            value => _ = object.insert(field.name().clone(), value),
        }
    }
    Ok(object.into())
}

/// The entries of a map: a struct of keys and values.
fn map(entries: &StructArray) -> Result<Value, String> {
    let (fields, keys, values) = (entries.fields(), entries.column(0), entries.column(1));
    let mut object = Map::new();
    for i in 0..entries.len() {
        let key = match cell_value(&fields[0], keys, i)? {
            Value::String(text) => text,
            other => other.to_string(),
        };
        object.insert(key, cell_value(&fields[1], values, i)?);
    }
    Ok(object.into())
}

fn shown(array: &ArrayRef, row: usize) -> Value {
    let options = FormatOptions::default();
    match ArrayFormatter::try_new(array, &options) {
        Ok(formatter) => formatter.value(row).to_string().into(),
        Err(_) => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        BinaryArray, Decimal128Array, DictionaryArray, Float16Array, Float32Array, Float64Array, LargeBinaryArray,
        MapBuilder, StringArray, StringBuilder, TimestampMillisecondArray, UInt64Array,
    };
    use arrow::datatypes::Int8Type;
    use serde_json::json;

    use super::*;

    fn value(array: impl Array + 'static) -> Result<Value, String> {
        let array: ArrayRef = Arc::new(array);
        cell_value(&Field::new("c", array.data_type().clone(), true), &array, array.len() - 1)
    }

    #[test]
    fn numbers_are_those_of_their_source() {
        assert_eq!(value(Float32Array::from(vec![0.1])), Ok(json!(0.1)));
        assert_eq!(value(Float32Array::from(vec![16777216.0])), Ok(json!(16777216.0)));
        assert_eq!(value(Float32Array::from(vec![1e-40])), Ok(json!(1e-40)));
        assert_eq!(value(Float32Array::from(vec![f32::NAN])), Ok(Value::Null));
        let half = <Float16Type as arrow::array::ArrowPrimitiveType>::Native::from_f64(0.1);
        assert_eq!(value(Float16Array::from(vec![half])), Ok(json!(0.1)));
        assert_eq!(value(Float64Array::from(vec![0.1 + 0.2])), Ok(json!(0.30000000000000004)));
        assert_eq!(value(UInt64Array::from(vec![u64::MAX])), Ok(json!(u64::MAX)));
        let decimal = Decimal128Array::from(vec![1250]).with_precision_and_scale(10, 2).unwrap();
        assert_eq!(value(decimal), Ok(json!("12.50")));
        assert_eq!(value(TimestampMillisecondArray::from(vec![0])), Ok(json!("1970-01-01T00:00:00")));
    }

    #[test]
    fn binary_is_the_text_that_it_is_or_an_error() {
        assert_eq!(value(BinaryArray::from(vec!["é".as_bytes()])), Ok(json!("é")));
        assert_eq!(value(LargeBinaryArray::from(vec![&b"a"[..]])), Ok(json!("a")));
        let told = value(BinaryArray::from(vec![&b"a\xff"[..]])).unwrap_err();
        assert!(told.starts_with("column 'c' is binary that is no UTF-8 (byte 0xff)"), "{told}");
        assert_eq!(uuid(*b"0123456789abcdef"), "30313233-3435-3637-3839-616263646566");
    }

    #[test]
    fn dictionaries_and_maps() {
        let keys: DictionaryArray<Int8Type> = ["a", "b", "a", "c"].into_iter().collect();
        assert_eq!(value(keys), Ok(json!("c")));
        let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        map.keys().append_value("k");
        map.values().append_value("v");
        map.append(true).unwrap();
        assert_eq!(value(map.finish()), Ok(json!({"k": "v"})));
    }

    #[test]
    fn texts_that_are_json_by_their_own_account() {
        let field = crate::schema::json_field("c");
        for (text, expected) in [("{\"a\":1}", json!({"a": 1})), ("broken", json!("broken"))] {
            let array: ArrayRef = Arc::new(StringArray::from(vec![text]));
            assert_eq!(cell_value(&field, &array, 0), Ok(expected));
        }
    }
}
