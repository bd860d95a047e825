//! Rows of the common shapes as the template takes them.

use ft_table::Rows;
use ft_table::schema::{CHAT_TEMPLATE_KWARGS, CONTENT, NAME, REASONING_CONTENT, ROLE, TOOL_CALL_ID, TOOL_CALLS, TOOLS};
use ft_table::shapes::{ChatMessage, Example, Fault, Reading, Shape};
use ft_text::Message;
use rayon::prelude::*;
use serde_json::{Map, Value};

/// Some rows, read.
pub struct Examples {
    rows: Rows,
    /// What each is, or why it is nothing.
    read: Vec<Result<Example, String>>,
}

impl Examples {
    pub fn new(rows: Rows, shape: &Shape, reading: &Reading) -> Self {
        let told = |fault| match fault {
            Fault::Drop(reason) => reason.to_string(),
            Fault::Broken(told) => told,
        };
        let read = (0..rows.len()).into_par_iter().map(|row| shape.gather(&rows, row, reading).map_err(told)).collect();
        Self { rows, read }
    }

    pub fn len(&self) -> usize {
        self.read.len()
    }

    /// Where row `row` stands.
    pub fn place(&self, row: usize) -> String {
        self.rows.place(row)
    }

    /// The document that it is.
    pub fn text(&self, row: usize) -> Result<Option<&str>, String> {
        Ok(self.read[row].as_ref().map_err(Clone::clone)?.text.as_deref())
    }

    pub fn messages(&self, row: usize) -> Result<Vec<Message>, String> {
        let example = self.read[row].as_ref().map_err(Clone::clone)?;
        Ok(example.messages.iter().map(message).collect())
    }

    /// Tools and the template's other variables, those that the row has.
    pub fn variables(&self, row: usize) -> Map<String, Value> {
        let Ok(example) = &self.read[row] else { return Map::new() };
        let mut found = Map::new();
        if let Some(Value::Object(variables)) = &example.chat_template_kwargs {
            found.extend(variables.iter().filter(|(_, value)| !value.is_null()).map(|(k, v)| (k.clone(), v.clone())));
        }
        if let Some(tools) = &example.tools {
            found.insert(TOOLS.into(), tools.clone());
        }
        found.remove(CHAT_TEMPLATE_KWARGS);
        found
    }

    /// Fields of its messages that are not read.
    pub fn unread(&self, row: usize) -> &[String] {
        self.read[row].as_ref().map_or(&[], |example| &example.unknown)
    }

    /// A column's text.
    pub fn column(&self, row: usize, name: &str) -> Option<String> {
        self.rows.value(row, name).as_str().map(str::to_owned)
    }
}

/// The fields in the order in which ft-prep writes them.
fn message(message: &ChatMessage) -> Message {
    let text = |text: &Option<String>| text.clone().map_or(Value::Null, Value::from);
    let fields = [
        (ROLE, Value::from(message.role.as_ref())),
        (CONTENT, text(&message.content)),
        (NAME, text(&message.name)),
        (REASONING_CONTENT, text(&message.reasoning_content)),
        (TOOL_CALLS, message.tool_calls.clone().unwrap_or_default()),
        (TOOL_CALL_ID, text(&message.tool_call_id)),
    ];
    let mut out = Message::from_fields(fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect());
    out.set_learned(message.train);
    out
}
