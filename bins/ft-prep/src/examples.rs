//! Examples while they grow: `messages: list<struct<role, content>>`.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, StringBuilder, StructArray};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::error::ArrowError;
use ft_table::schema::{message_fields, message_item};

/// Builds the messages column of one batch.
pub struct Examples {
    roles: StringBuilder,
    contents: StringBuilder,
    messages: i32,
    offsets: Vec<i32>,
}

impl Examples {
    /// Room for `rows` rows and `bytes` of text.
    pub fn with_capacity(rows: usize, bytes: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self {
            roles: StringBuilder::with_capacity(2 * rows, 14 * rows),
            contents: StringBuilder::with_capacity(2 * rows, bytes),
            messages: 0,
            offsets,
        }
    }

    /// Adds a message to the row that is under way.
    pub fn push(&mut self, role: &str, content: &str) {
        self.roles.append_value(role);
        self.contents.append_value(content);
        self.messages += 1;
    }

    /// Ends the row.
    pub fn end_row(&mut self) {
        self.offsets.push(self.messages);
    }

    /// Bytes of text so far.
    pub fn bytes(&self) -> usize {
        self.contents.values_slice().len()
    }

    /// The column.
    pub fn finish(mut self) -> Result<ArrayRef, ArrowError> {
        let columns: Vec<ArrayRef> = vec![Arc::new(self.roles.finish()), Arc::new(self.contents.finish())];
        let messages = StructArray::try_new(message_fields(), columns, None)?;
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        let list = ListArray::try_new(message_item(), offsets, Arc::new(messages), None)?;
        Ok(Arc::new(list))
    }
}
