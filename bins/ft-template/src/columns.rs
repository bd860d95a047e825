//! The output's columns.

use std::sync::Arc;

use anyhow::Result;
use arrow::array::{ArrayRef, ListBuilder, PrimitiveBuilder, RecordBatch, StringBuilder, UInt32Array, UInt32Builder};
use arrow::compute::take;
use arrow::datatypes::{ArrowPrimitiveType, Field, Int32Type, SchemaRef, UInt32Type};

use crate::row::Row;

/// The output's columns as they grow.
pub struct Columns {
    text: StringBuilder,
    ids: ListBuilder<PrimitiveBuilder<UInt32Type>>,
    labels: ListBuilder<PrimitiveBuilder<Int32Type>>,
    length: UInt32Builder,
    reference: StringBuilder,
    /// The row of the input's batch that each row comes from.
    origins: Vec<u32>,
}

impl Default for Columns {
    fn default() -> Self {
        Self {
            text: StringBuilder::new(),
            ids: list::<UInt32Type>(),
            labels: list::<Int32Type>(),
            length: UInt32Builder::new(),
            reference: StringBuilder::new(),
            origins: Vec::new(),
        }
    }
}

/// A list whose items are never null, as the schema says.
fn list<T: ArrowPrimitiveType>() -> ListBuilder<PrimitiveBuilder<T>> {
    ListBuilder::new(PrimitiveBuilder::new()).with_field(Field::new_list_field(T::DATA_TYPE, false))
}

impl Columns {
    /// Appends a row that comes from row `origin` of the input's batch.
    pub fn add(&mut self, row: &Row, origin: usize) {
        self.text.append_value(&row.text);
        self.ids.values().append_slice(&row.tokens.ids);
        self.ids.append(true);
        self.labels.values().append_slice(&row.labels);
        self.labels.append(true);
        self.length.append_value(row.tokens.ids.len() as u32);
        self.reference.append_option(row.reference.as_deref());
        self.origins.push(origin as u32);
    }

    /// The rows as a batch of `schema`: the tokens', and behind it the columns of the input that are `kept`.
    pub fn finish(mut self, schema: SchemaRef, kept: &[ArrayRef]) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.text.finish()),
            Arc::new(self.ids.finish()),
            Arc::new(self.labels.finish()),
            Arc::new(self.length.finish()),
            Arc::new(self.reference.finish()),
        ];
        let origins = UInt32Array::from(self.origins);
        for column in kept {
            columns.push(take(column, &origins, None)?);
        }
        Ok(RecordBatch::try_new(schema, columns)?)
    }
}
