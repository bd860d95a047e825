//! The two kinds of rows that pass between the programs.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};

/// Column of the examples schema.
pub const MESSAGES: &str = "messages";
/// Columns of the tokens schema.
pub const TEXT: &str = "text";
/// Token ids of the whole row.
pub const INPUT_IDS: &str = "input_ids";
/// Labels aligned with the ids; [`NO_LABEL`] where there is no loss.
pub const LABELS: &str = "labels";
/// Number of ids.
pub const LENGTH: &str = "length";
/// The expected answer, for evaluation.
pub const REFERENCE: &str = "reference";
/// A label that takes no part in the loss.
pub const NO_LABEL: i32 = -100;

/// The fields of one message: `role` and `content`, both text.
pub fn message_fields() -> Fields {
    Fields::from(vec![Field::new("role", DataType::Utf8, false), Field::new("content", DataType::Utf8, false)])
}

/// The item of the `messages` list.
pub fn message_item() -> Arc<Field> {
    let item = DataType::Struct(message_fields());
    Arc::new(Field::new_list_field(item, false))
}

/// What `ft-prep` writes: `messages: list<struct<role, content>>` and the
/// columns that the user keeps.
pub fn examples_schema(kept: impl IntoIterator<Item = Field>) -> SchemaRef {
    let messages = Field::new(MESSAGES, DataType::List(message_item()), false);
    let fields: Vec<_> = std::iter::once(messages).chain(kept).collect();
    Arc::new(Schema::new(fields))
}

/// What `ft-template` writes: `text`, `input_ids: list<u32>`,
/// `labels: list<i32>`, `length: u32`, and `reference` (null in training data).
pub fn tokens_schema() -> SchemaRef {
    let list = |item| DataType::List(Arc::new(Field::new_list_field(item, false)));
    Arc::new(Schema::new(vec![
        Field::new(TEXT, DataType::Utf8, false),
        Field::new(INPUT_IDS, list(DataType::UInt32), false),
        Field::new(LABELS, list(DataType::Int32), false),
        Field::new(LENGTH, DataType::UInt32, false),
        Field::new(REFERENCE, DataType::Utf8, true),
    ]))
}
