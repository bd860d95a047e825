//! Where rows come from, as `ft-prep --lineage` writes it and `ft-template` keeps it.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StringArray, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, UInt64Type};

use crate::schema::{SOURCE_FILE, SOURCE_ROW};

/// The columns that tell of it, where they are there.
pub const COLUMNS: [&str; 2] = [SOURCE_FILE, SOURCE_ROW];

/// The place in the sources that a row comes from, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceRow {
    /// The input's name; rows of one input share it.
    pub source_file: Option<Arc<str>>,
    /// Its line (text) or row there, from 1.
    pub source_row: Option<u64>,
}

impl SourceRow {
    /// Whether something is known.
    pub fn is_known(&self) -> bool {
        self.source_file.is_some() || self.source_row.is_some()
    }
}

impl fmt::Display for SourceRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.source_file, self.source_row) {
            (Some(file), Some(row)) => write!(f, "{file}, row {row}"),
            (Some(file), None) => write!(f, "{file}"),
            (None, Some(row)) => write!(f, "source row {row}"),
            (None, None) => write!(f, "source unknown"),
        }
    }
}

/// The columns of a batch. Of another type than texts and whole numbers they mean something else, and tell nothing.
pub struct Lineage {
    files: Option<StringArray>,
    rows: Option<UInt64Array>,
}

impl Lineage {
    /// Takes them out of `batch`.
    pub fn of(batch: &RecordBatch) -> Self {
        let column = |name: &str, fits: fn(&DataType) -> bool, kind: &DataType| {
            let column = batch.column_by_name(name).filter(|column| fits(column.data_type()))?;
            cast(column, kind).ok()
        };
        let files = column(SOURCE_FILE, is_text, &DataType::Utf8);
        let rows = column(SOURCE_ROW, DataType::is_integer, &DataType::UInt64);
        Self {
            files: files.map(|files| files.as_string::<i32>().clone()),
            rows: rows.map(|rows| rows.as_primitive::<UInt64Type>().clone()),
        }
    }

    /// Where row `row` of the batch comes from; its file's name is `before`'s, where that is the same.
    pub fn row(&self, row: usize, before: Option<&SourceRow>) -> SourceRow {
        let name = self.files.as_ref().filter(|files| files.is_valid(row)).map(|files| files.value(row));
        let shared = before.and_then(|before| before.source_file.clone());
        SourceRow {
            source_file: name.map(|name| shared.filter(|shared| **shared == *name).unwrap_or_else(|| name.into())),
            source_row: self.rows.as_ref().filter(|rows| rows.is_valid(row)).map(|rows| rows.value(row)),
        }
    }
}

fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, value) => is_text(value),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Float64Array, Int32Array};

    use super::*;

    #[test]
    fn texts_and_whole_numbers_tell_and_other_columns_do_not() {
        let files: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("a"), None]));
        let batch = |rows: ArrayRef| RecordBatch::try_from_iter([("source_file", files.clone()), ("source_row", rows)]);
        let lineage = Lineage::of(&batch(Arc::new(Int32Array::from(vec![Some(7), None, Some(-1)]))).unwrap());
        let first = lineage.row(0, None);
        let second = lineage.row(1, Some(&first));
        assert_eq!((first.to_string(), second.to_string()), ("a, row 7".into(), "a".into()));
        assert!(Arc::ptr_eq(&first.source_file.unwrap(), &second.source_file.unwrap()));
        assert!(!lineage.row(2, None).is_known());
        let lineage = Lineage::of(&batch(Arc::new(Float64Array::from(vec![1.0, 2.0, 3.0]))).unwrap());
        assert_eq!(lineage.row(0, None).source_row, None);
    }
}
