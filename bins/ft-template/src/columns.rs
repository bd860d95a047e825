//! The output's columns.

use std::sync::Arc;

use anyhow::Result;
use arrow::array::{ArrayRef, ListBuilder, PrimitiveBuilder, RecordBatch, StringBuilder, UInt32Builder};
use arrow::datatypes::{ArrowPrimitiveType, Field, Int32Type, UInt32Type};
use ft_table::schema::tokens_schema;

use crate::rows::Row;

/// The output's columns as they grow.
pub struct Columns {
    text: StringBuilder,
    ids: ListBuilder<PrimitiveBuilder<UInt32Type>>,
    labels: ListBuilder<PrimitiveBuilder<Int32Type>>,
    length: UInt32Builder,
    reference: StringBuilder,
}

impl Default for Columns {
    fn default() -> Self {
        Self {
            text: StringBuilder::new(),
            ids: list::<UInt32Type>(),
            labels: list::<Int32Type>(),
            length: UInt32Builder::new(),
            reference: StringBuilder::new(),
        }
    }
}

/// A list whose items are never null, as the schema says.
fn list<T: ArrowPrimitiveType>() -> ListBuilder<PrimitiveBuilder<T>> {
    ListBuilder::new(PrimitiveBuilder::new()).with_field(Field::new_list_field(T::DATA_TYPE, false))
}

impl Columns {
    /// Appends a row.
    pub fn add(&mut self, row: &Row) {
        self.text.append_value(&row.text);
        self.ids.values().append_slice(&row.tokens.ids);
        self.ids.append(true);
        self.labels.values().append_slice(&row.labels);
        self.labels.append(true);
        self.length.append_value(row.tokens.ids.len() as u32);
        self.reference.append_option(row.reference.as_deref());
    }

    /// The rows as a batch of the tokens schema.
    pub fn finish(mut self) -> Result<RecordBatch> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.text.finish()),
            Arc::new(self.ids.finish()),
            Arc::new(self.labels.finish()),
            Arc::new(self.length.finish()),
            Arc::new(self.reference.finish()),
        ];
        Ok(RecordBatch::try_new(tokens_schema(), columns)?)
    }
}
