//! Rows under a schema that has more columns than they.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, RecordBatchOptions, StructArray, new_null_array};
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::error::ArrowError;

/// The rows of `batch` with the columns of `schema`, by name; what they lack is null, also within structs and lists of
/// structs.
///
/// # Errors
/// If a column has another type, or one that is missing cannot be null.
pub fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    if batch.schema_ref() == schema {
        return Ok(batch.clone());
    }
    let rows = batch.num_rows();
    let fields = schema.fields().iter();
    let columns = fields.map(|field| column(batch.column_by_name(field.name()), field, rows));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
}

fn column(found: Option<&ArrayRef>, field: &Field, rows: usize) -> Result<ArrayRef, ArrowError> {
    let Some(array) = found else {
        return Ok(new_null_array(field.data_type(), rows));
    };
    match (array.data_type(), field.data_type()) {
        (found, wanted) if found == wanted => Ok(array.clone()),
        (DataType::List(_), DataType::List(item)) => {
            let (_, offsets, values, nulls) = array.as_list::<i32>().clone().into_parts();
            let values = column(Some(&values), item, values.len())?;
            Ok(Arc::new(ListArray::try_new(item.clone(), offsets, values, nulls)?))
        }
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let of = array.as_struct();
            let columns = fields.iter().map(|field| column(of.column_by_name(field.name()), field, of.len()));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, of.nulls().cloned(), of.len())?))
        }
        (found, wanted) => {
            let told = format!("column '{}' is {found}, expected {wanted}", field.name());
            Err(ArrowError::SchemaError(told))
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, StringArray};
    use arrow::datatypes::{Fields, Int32Type, Schema};

    use super::*;

    fn list_of(fields: Vec<Field>) -> DataType {
        DataType::List(Arc::new(Field::new_list_field(DataType::Struct(Fields::from(fields)), false)))
    }

    #[test]
    fn what_is_missing_is_null_at_any_depth() {
        let [a, b] = ["a", "b"].map(|name| Field::new(name, DataType::Int32, true));
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1)]), Some(vec![Some(2), None])]);
        let (_, offsets, values, _) = lists.into_parts();
        let items = StructArray::try_new(Fields::from(vec![a.clone()]), vec![values], None).unwrap();
        let item = Field::new_list_field(items.data_type().clone(), false);
        let list = ListArray::try_new(Arc::new(item), offsets, Arc::new(items), None).unwrap();
        let batch = RecordBatch::try_from_iter([("m", Arc::new(list) as ArrayRef)]).unwrap();
        let more = Field::new("t", DataType::Utf8, true);
        let schema = Arc::new(Schema::new(vec![Field::new("m", list_of(vec![b, a]), false), more]));
        let got = conform(&batch, &schema).unwrap();
        let items = got.column(0).as_list::<i32>().values().as_struct().clone();
        assert_eq!(items.column(1).as_primitive(), &Int32Array::from(vec![Some(1), Some(2), None]));
        assert_eq!((items.column(0).null_count(), got.column(1).null_count()), (3, 2));
        let text: ArrayRef = Arc::new(StringArray::from(vec!["x", "y"]));
        let other = RecordBatch::try_from_iter([("m", text)]).unwrap();
        assert!(conform(&other, &schema).unwrap_err().to_string().contains("column 'm' is Utf8"));
    }
}
