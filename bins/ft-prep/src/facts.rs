//! What is known of each example and not written: it travels in columns beside it until the rows are held.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListBuilder, RecordBatch, UInt32Builder, UInt64Array};
use arrow::datatypes::{DataType, Field, SchemaRef, UInt32Type, UInt64Type};
use arrow::error::ArrowError;

/// What begins the names of such columns; no column of an input begins so.
const MARK: char = '\0';

/// What is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// The group of each row, which is never on both sides.
    pub group: bool,
    /// The kind of each row, of which both sides have their share.
    pub stratum: bool,
    /// Where it comes from.
    pub place: bool,
    /// Its shingles.
    pub shingles: bool,
}

/// The facts of rows, each list as long as there are rows or empty where it is not wanted.
#[derive(Debug, Default)]
pub struct Facts {
    /// Digests of groups.
    pub groups: Vec<u64>,
    /// Digests of kinds.
    pub strata: Vec<u64>,
    /// The input's number.
    pub files: Vec<u64>,
    /// The line or row in it.
    pub rows: Vec<u64>,
    /// Shingles of each row.
    pub shingles: Vec<Box<[u32]>>,
}

const NAMES: [&str; 4] = ["group", "stratum", "file", "row"];
const SHINGLES: &str = "shingles";

impl Facts {
    fn numbers(&mut self) -> [(&'static str, &mut Vec<u64>); 4] {
        let [group, stratum, file, row] = NAMES;
        [(group, &mut self.groups), (stratum, &mut self.strata), (file, &mut self.files), (row, &mut self.rows)]
    }

    /// Whether anything is known.
    pub fn are_known(&self) -> bool {
        !(self.groups.is_empty() && self.strata.is_empty() && self.rows.is_empty() && self.shingles.is_empty())
    }

    /// The groups and kinds of some rows.
    pub fn of_rows(&self, rows: &[usize]) -> Self {
        let of = |all: &[u64]| rows.iter().filter_map(|&row| all.get(row).copied()).collect();
        Self { groups: of(&self.groups), strata: of(&self.strata), ..Self::default() }
    }

    /// These facts as columns.
    pub fn into_columns(mut self, fields: &mut Vec<Field>, columns: &mut Vec<ArrayRef>) {
        for (name, numbers) in self.numbers() {
            if !numbers.is_empty() {
                fields.push(Field::new(format!("{MARK}{name}"), DataType::UInt64, false));
                columns.push(Arc::new(UInt64Array::from(std::mem::take(numbers))));
            }
        }
        if !self.shingles.is_empty() {
            let item = Arc::new(Field::new_list_field(DataType::UInt32, false));
            let mut lists = ListBuilder::new(UInt32Builder::new()).with_field(item.clone());
            for shingles in &self.shingles {
                lists.values().append_slice(shingles);
                lists.append(true);
            }
            fields.push(Field::new(format!("{MARK}{SHINGLES}"), DataType::List(item), false));
            columns.push(Arc::new(lists.finish()));
        }
    }

    /// Takes the facts out of a batch.
    pub fn take(&mut self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let is_fact = |field: &Field| field.name().starts_with(MARK);
        let schema: SchemaRef = batch.schema();
        if !schema.fields().iter().any(|field| is_fact(field)) {
            return Ok(batch.clone());
        }
        for (name, numbers) in self.numbers() {
            if let Some(column) = batch.column_by_name(&format!("{MARK}{name}")) {
                numbers.extend(column.as_primitive::<UInt64Type>().values());
            }
        }
        if let Some(column) = batch.column_by_name(&format!("{MARK}{SHINGLES}")) {
            let lists = column.as_list::<i32>();
            let list = |row| lists.value(row).as_primitive::<UInt32Type>().values().iter().copied().collect();
            self.shingles.extend((0..lists.len()).map(list));
        }
        let kept: Vec<_> = (0..schema.fields().len()).filter(|&i| !is_fact(schema.field(i))).collect();
        batch.project(&kept)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::StringArray;
    use arrow::datatypes::Schema;

    use super::*;

    #[test]
    fn facts_travel_beside_the_rows() {
        let facts = Facts {
            groups: vec![1, 2],
            rows: vec![7, 8],
            shingles: vec![[1, 2].into(), [3].into()],
            ..Facts::default()
        };
        let mut fields = vec![Field::new("a", DataType::Utf8, false)];
        let mut columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from(vec!["x", "y"]))];
        facts.into_columns(&mut fields, &mut columns);
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        let mut found = Facts::default();
        let rows = found.take(&batch.slice(1, 1)).unwrap();
        assert_eq!(rows.num_columns(), 1);
        assert_eq!((found.groups, found.rows, found.files), (vec![2], vec![8], vec![]));
        assert_eq!(found.shingles, vec![[3_u32].into()] as Vec<Box<[u32]>>);
    }
}
