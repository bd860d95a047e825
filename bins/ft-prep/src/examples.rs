//! Examples while they grow, in the columns of [`ft_table::schema`].

use std::mem::take;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, ListArray, StringArray, StringBuilder, StructArray};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use arrow::error::ArrowError;
use ft_table::schema::{
    CHAT_TEMPLATE_KWARGS, CONTENT, MESSAGES, NAME, REASONING_CONTENT, ROLE, TEXT, TOOL_CALL_ID, TOOL_CALLS, TOOLS,
    TRAIN, json_field,
};
use ft_table::shapes::{ChatMessage, Example};

/// Builds the columns of one batch. Of the fields that not all data has, only those are made that some row has.
pub struct Examples {
    roles: StringBuilder,
    contents: StringBuilder,
    null_content: bool,
    messages: usize,
    names: Late<String>,
    thoughts: Late<String>,
    calls: Late<String>,
    call_ids: Late<String>,
    train: Late<bool>,
    offsets: Vec<i32>,
    texts: Late<String>,
    tools: Late<String>,
    variables: Late<String>,
    bytes: usize,
}

impl Examples {
    /// Room for `rows` rows and `bytes` of text.
    pub fn with_capacity(rows: usize, bytes: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self {
            roles: StringBuilder::with_capacity(2 * rows, 14 * rows),
            contents: StringBuilder::with_capacity(2 * rows, bytes),
            null_content: false,
            messages: 0,
            names: Late::default(),
            thoughts: Late::default(),
            calls: Late::default(),
            call_ids: Late::default(),
            train: Late::default(),
            offsets,
            texts: Late::default(),
            tools: Late::default(),
            variables: Late::default(),
            bytes: 0,
        }
    }

    /// Adds a message that is text and nothing else to the row that is under way.
    pub fn push(&mut self, role: &str, content: &str) {
        self.roles.append_value(role);
        self.contents.append_value(content);
        self.bytes += content.len();
        self.messages += 1;
    }

    /// Ends the row.
    pub fn end_row(&mut self) {
        self.offsets.push(self.messages as i32);
    }

    /// Adds a whole row.
    pub fn push_example(&mut self, example: Example) {
        for message in example.messages {
            self.push_message(message);
        }
        let row = self.rows();
        let more = [
            (&mut self.texts, example.text),
            (&mut self.tools, example.tools.map(|tools| tools.to_string())),
            (&mut self.variables, example.chat_template_kwargs.map(|variables| variables.to_string())),
        ];
        for (column, text) in more {
            self.bytes += column.set(row, text);
        }
        self.end_row();
    }

    fn push_message(&mut self, message: ChatMessage) {
        let at = self.messages;
        let more = [
            (&mut self.names, message.name),
            (&mut self.thoughts, message.reasoning_content),
            (&mut self.calls, message.tool_calls.map(|calls| calls.to_string())),
            (&mut self.call_ids, message.tool_call_id),
        ];
        for (column, text) in more {
            self.bytes += column.set(at, text);
        }
        self.train.put(at, message.train);
        if let Some(content) = message.content {
            self.push(&message.role, &content);
        } else {
            self.roles.append_value(&message.role);
            self.contents.append_null();
            self.null_content = true;
            self.messages += 1;
        }
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Bytes of text so far.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The columns with their fields: those that these rows have, and those that `before` has, which the rows before
    /// had.
    pub fn finish(mut self, before: Option<&Schema>) -> Result<(Vec<Field>, Vec<ArrayRef>), ArrowError> {
        let rows = self.rows();
        let had = |column: &str| before.is_some_and(|schema| schema.index_of(column).is_ok());
        let mut columns = Columns::default();
        let (texts, tools, variables) = (take(&mut self.texts), take(&mut self.tools), take(&mut self.variables));
        if texts.is_empty() {
            let offsets = OffsetBuffer::new(ScalarBuffer::from(take(&mut self.offsets)));
            let items = self.items(before)?;
            let item = Arc::new(Field::new_list_field(DataType::Struct(items.fields().clone()), false));
            let list = ListArray::try_new(item, offsets, Arc::new(items), None)?;
            columns.push(Field::new(MESSAGES, list.data_type().clone(), false), Arc::new(list));
            columns.push_late(json_field(TOOLS), tools.finish(rows, had(TOOLS)));
            columns.push_late(json_field(CHAT_TEMPLATE_KWARGS), variables.finish(rows, had(CHAT_TEMPLATE_KWARGS)));
        } else {
            columns.push_late(Field::new(TEXT, DataType::Utf8, false), texts.finish(rows, true));
        }
        Ok((columns.fields, columns.arrays))
    }

    /// The messages of all rows.
    fn items(mut self, before: Option<&Schema>) -> Result<StructArray, ArrowError> {
        let n = self.messages;
        let fields = before.and_then(message_fields);
        let had = |name: &str| fields.and_then(|fields| fields.find(name));
        let null_content = self.null_content || had(CONTENT).is_some_and(|(_, field)| field.is_nullable());
        let mut columns = Columns::default();
        columns.push(Field::new(ROLE, DataType::Utf8, false), Arc::new(self.roles.finish()));
        columns.push(Field::new(CONTENT, DataType::Utf8, null_content), Arc::new(self.contents.finish()));
        let text = |name: &str| Field::new(name, DataType::Utf8, true);
        for (field, column) in [
            (text(NAME), self.names),
            (text(REASONING_CONTENT), self.thoughts),
            (json_field(TOOL_CALLS), self.calls),
            (text(TOOL_CALL_ID), self.call_ids),
        ] {
            let column = column.finish(n, had(field.name()).is_some());
            columns.push_late(field, column);
        }
        let train = self.train.finish(n, had(TRAIN).is_some());
        columns.push_late(Field::new(TRAIN, DataType::Boolean, true), train);
        StructArray::try_new(Fields::from(columns.fields), columns.arrays, None)
    }
}

/// The fields of the messages in a schema of examples.
pub fn message_fields(schema: &Schema) -> Option<&Fields> {
    match schema.field_with_name(MESSAGES).ok()?.data_type() {
        DataType::List(item) => match item.data_type() {
            DataType::Struct(fields) => Some(fields),
            _ => None,
        },
        _ => None,
    }
}

/// Fields and what stands in them.
#[derive(Default)]
struct Columns {
    fields: Vec<Field>,
    arrays: Vec<ArrayRef>,
}

impl Columns {
    fn push(&mut self, field: Field, array: ArrayRef) {
        self.fields.push(field);
        self.arrays.push(array);
    }

    fn push_late(&mut self, field: Field, array: Option<ArrayRef>) {
        if let Some(array) = array {
            self.push(field, array);
        }
    }
}

/// A column that costs nothing until a row has it.
struct Late<T>(Vec<Option<T>>);

impl<T> Default for Late<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Late<T> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts a cell into the row `at`, which is behind all rows that have one.
    fn put(&mut self, at: usize, cell: Option<T>) {
        if cell.is_some() {
            self.0.resize_with(at, || None);
            self.0.push(cell);
        }
    }

    /// The cells of `rows` rows, where there is one or the column `is_wanted`.
    fn cells(mut self, rows: usize, is_wanted: bool) -> Option<Vec<Option<T>>> {
        if self.is_empty() && !is_wanted {
            return None;
        }
        self.0.resize_with(rows, || None);
        Some(self.0)
    }
}

impl Late<String> {
    /// Puts a text, and gives its bytes.
    fn set(&mut self, at: usize, text: Option<String>) -> usize {
        let bytes = text.as_ref().map_or(0, String::len);
        self.put(at, text);
        bytes
    }

    fn finish(self, rows: usize, is_wanted: bool) -> Option<ArrayRef> {
        Some(Arc::new(StringArray::from(self.cells(rows, is_wanted)?)))
    }
}

impl Late<bool> {
    fn finish(self, rows: usize, is_wanted: bool) -> Option<ArrayRef> {
        Some(Arc::new(BooleanArray::from(self.cells(rows, is_wanted)?)))
    }
}
