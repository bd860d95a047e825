//! The two kinds of rows that pass between the programs.
//!
//! # Examples
//! What `ft-prep` writes, with the columns that the user keeps behind, and `ft-template` reads; one row an example.
//!
//! | column | type | meaning |
//! |---|---|---|
//! | `messages` | list of structs | the conversation; every field below is one of the struct's |
//! | … `role` | text | `system`, `user`, `assistant`, `tool`, `developer`, or what the template knows |
//! | … `content` | text, may be null | what is said; null only beside `tool_calls` |
//! | … `name` | text, may be null | who speaks |
//! | … `reasoning_content` | text, may be null | what was thought before the answer |
//! | … `tool_calls` | JSON text, may be null | the list of calls, each as the source has it |
//! | … `tool_call_id` | text, may be null | the call that a `tool` message answers |
//! | … `train` | boolean, may be null | whether this answer is learned; null: as all of its role are |
//! | `text` | text | a whole document, in place of `messages`: no template, everything learned |
//! | `tools` | JSON text, may be null | the list of tools that the model may call |
//! | `chat_template_kwargs` | JSON text, may be null | further variables of the template, an object |
//! | `source` | text | the input that the row comes from, where inputs are mixed |
//! | `source_file`, `source_row` | text, u64 | where it comes from: the input's name, and its line (text) or row, from 1 |
//!
//! All fields of a message but `role` and `content`, and all columns but `messages` (or `text`), are there only where
//! some row of the file has them. JSON texts may be marked as Arrow's canonical extension type `arrow.json` in the field's
//! metadata, as datasets (4.7 and newer) writes them: [`is_json`].

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};

/// Fields of a message.
pub const ROLE: &str = "role";
/// What is said.
pub const CONTENT: &str = "content";
/// Who speaks.
pub const NAME: &str = "name";
/// What was thought before the answer.
pub const REASONING_CONTENT: &str = "reasoning_content";
/// Calls of tools, JSON text.
pub const TOOL_CALLS: &str = "tool_calls";
/// The call that a message answers.
pub const TOOL_CALL_ID: &str = "tool_call_id";
/// Whether an answer is learned.
pub const TRAIN: &str = "train";
/// Column of the examples schema.
pub const MESSAGES: &str = "messages";
/// Tools that the model may call, JSON text.
pub const TOOLS: &str = "tools";
/// Further variables of the template, JSON text.
pub const CHAT_TEMPLATE_KWARGS: &str = "chat_template_kwargs";
/// The input that a row comes from, where inputs are mixed.
pub const SOURCE: &str = "source";
/// The name of the input that a row comes from.
pub const SOURCE_FILE: &str = "source_file";
/// The row's line or number in that input, counted from 1.
pub const SOURCE_ROW: &str = "source_row";
/// Columns of the tokens schema.
pub const TEXT: &str = "text";
/// Token ids of the whole row.
pub const INPUT_IDS: &str = "input_ids";
/// Labels aligned with the ids; [`ft_io::IGNORE_INDEX`] where there is no loss.
pub const LABELS: &str = "labels";
/// Number of ids.
pub const LENGTH: &str = "length";
/// The expected answer, for evaluation.
pub const REFERENCE: &str = "reference";

/// The metadata key by which a field tells its extension type.
const EXTENSION_NAME: &str = "ARROW:extension:name";
const ARROW_JSON: &str = "arrow.json";
const ARROW_UUID: &str = "arrow.uuid";

/// Whether the texts of this field are JSON by its own account.
pub fn is_json(field: &Field) -> bool {
    field.metadata().get(EXTENSION_NAME).is_some_and(|name| name == ARROW_JSON)
}

/// Whether the bytes of this field are UUIDs by its own account.
pub(crate) fn is_uuid(field: &Field) -> bool {
    field.metadata().get(EXTENSION_NAME).is_some_and(|name| name == ARROW_UUID)
}

/// The field with the mark of UUIDs.
pub(crate) fn as_uuid(field: Field) -> Field {
    let mut metadata: HashMap<String, String> =
        field.metadata().iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    metadata.insert(EXTENSION_NAME.to_owned(), ARROW_UUID.to_owned());
    field.with_metadata(metadata)
}

/// A field of texts that are JSON by their own account; null where there is nothing.
pub fn json_field(name: &str) -> Field {
    let extension = HashMap::from([(EXTENSION_NAME.to_owned(), ARROW_JSON.to_owned())]);
    Field::new(name, DataType::Utf8, true).with_metadata(extension)
}

/// The fields that every message has: `role` and `content`, both text.
pub fn message_fields() -> Fields {
    Fields::from(vec![Field::new(ROLE, DataType::Utf8, false), Field::new(CONTENT, DataType::Utf8, false)])
}

/// The item of the `messages` list where messages have no other fields.
pub fn message_item() -> Arc<Field> {
    let item = DataType::Struct(message_fields());
    Arc::new(Field::new_list_field(item, false))
}

/// The plainest examples: `messages: list<struct<role, content>>` and the columns that the user keeps.
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
