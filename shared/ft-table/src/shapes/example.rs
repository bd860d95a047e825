//! One row as an example.

use serde_json::Value;

use super::conversation::{Cells, text};
use super::detect::Shape;
use super::message::ChatMessage;
use super::reading::Reading;
use super::reason::{Fault, Reason};
use super::roles::{ASSISTANT, SYSTEM, USER};
use super::tools::{functions, tools, variables};
use crate::rows::Rows;

/// What a row is. Either `messages` or `text` is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Example {
    /// The conversation.
    pub messages: Vec<ChatMessage>,
    /// A whole document.
    pub text: Option<String>,
    /// The tools that the model may call, a list.
    pub tools: Option<Value>,
    /// Further variables of the template, an object.
    pub chat_template_kwargs: Option<Value>,
    /// Names of fields of its messages that are not read.
    pub unknown: Vec<String>,
}

impl Shape {
    /// The example that row `row` is: something is asked in it and something answered.
    ///
    /// # Errors
    /// Why the row is none.
    pub fn example(&self, rows: &Rows, row: usize, reading: &Reading) -> Result<Example, Fault> {
        let example = self.gather(rows, row, reading)?;
        if example.text.is_none() {
            complete(&example.messages)?;
        }
        Ok(example)
    }

    /// What row `row` says, whether anything is asked or answered in it or not. An answer's column may be missing.
    ///
    /// # Errors
    /// Why the row cannot be read.
    pub fn gather(&self, rows: &Rows, row: usize, reading: &Reading) -> Result<Example, Fault> {
        let cells = RowCells { rows, row };
        if self.text.is_some() {
            let text = cells.text(self.text.as_ref())?.ok_or(Reason::EmptyText)?;
            return Ok(Example { text: Some(text), ..Example::default() });
        }
        let mut reader = Cells { roles: &reading.roles, unknown: Vec::new() };
        let mut messages = cells.read(self.history.as_ref(), Cells::history)?.unwrap_or_default();
        messages.append(&mut self.turns(&cells, &mut reader)?);
        let system = cells.text(self.system.as_ref())?;
        begin_with(&mut messages, system.or_else(|| reading.system.clone()));
        let mut known = cells.read(self.tools.as_ref(), tools)?.flatten();
        if known.is_none() {
            known = cells.read(self.functions.as_ref(), functions)?.flatten();
        }
        let chat_template_kwargs = cells.read(self.variables.as_ref(), variables)?.flatten();
        Ok(Example { messages, text: None, tools: known, chat_template_kwargs, unknown: reader.unknown })
    }

    /// Question and answer, or the conversation.
    fn turns(&self, cells: &RowCells, reader: &mut Cells) -> Result<Vec<ChatMessage>, Fault> {
        let asked = cells.read(self.input.as_ref(), |value, column| {
            if self.conversation { reader.conversation(value, column) } else { reader.question(value, column) }
        });
        let mut asked = asked?.unwrap_or_default();
        if let Some(context) = cells.text(self.context.as_ref())?
            && let Some(last) = asked.last_mut().and_then(|last| last.content.as_mut())
        {
            last.push('\n');
            last.push_str(&context);
        }
        if let Some(answered) = cells.read(self.output.as_ref(), |value, column| reader.answer(value, column))? {
            // Some preference pairs have the question in both columns.
            if answered.iter().any(|m| m.role == USER) && answered.starts_with(&asked) {
                asked = answered;
            } else {
                asked.extend(answered);
            }
        }
        Ok(asked)
    }
}

/// The cells of one row.
struct RowCells<'a> {
    rows: &'a Rows,
    row: usize,
}

impl RowCells<'_> {
    /// What `read` makes of the cell of a column, where there is such a column.
    fn read<T>(
        &self,
        column: Option<&String>,
        read: impl FnOnce(&Value, &str) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        let Some(column) = column else {
            return Ok(None);
        };
        let value = self.rows.try_value(self.row, column).map_err(Fault::Broken)?;
        read(&value, column).map(Some)
    }

    /// The text of a column; none where it is missing or blank.
    fn text(&self, column: Option<&String>) -> Result<Option<String>, Fault> {
        Ok(self.read(column, text)?.flatten().filter(|text| !text.trim().is_empty()))
    }
}

/// Puts a system message first; one that is there wins, and a blank one goes.
fn begin_with(messages: &mut Vec<ChatMessage>, system: Option<String>) {
    messages.retain(|message| message.role != SYSTEM || !message.is_blank());
    let own = messages.iter().any(|m| m.role == SYSTEM || m.role == "developer");
    if let Some(system) = system.filter(|_| !own) {
        messages.insert(0, ChatMessage::new(SYSTEM, system));
    }
}

/// Checks that something is asked and something answered.
fn complete(messages: &[ChatMessage]) -> Result<(), Fault> {
    if messages.is_empty() {
        return Err(Reason::NoMessages.into());
    }
    let mut answers = messages.iter().filter(|m| m.role == ASSISTANT);
    let Some(last) = answers.next_back() else {
        return Err(Reason::NoAnswer.into());
    };
    if last.is_blank() {
        return Err(Reason::EmptyOutput.into());
    }
    let asked = |m: &ChatMessage| m.role != ASSISTANT && m.role != SYSTEM && !m.is_blank();
    // Data of the evals kind asks in the system message alone.
    if !messages.iter().any(asked) && !messages.iter().any(|m| m.role == SYSTEM) {
        return Err(Reason::EmptyInput.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incomplete_conversations_are_dropped() {
        let user = ChatMessage::new("user", "q");
        let assistant = |text: &str| ChatMessage::new("assistant", text);
        let check = |messages: Vec<ChatMessage>| complete(&messages);
        assert_eq!(check(vec![]), Err(Reason::NoMessages.into()));
        assert_eq!(check(vec![user.clone()]), Err(Reason::NoAnswer.into()));
        assert_eq!(check(vec![user.clone(), assistant(" ")]), Err(Reason::EmptyOutput.into()));
        assert_eq!(check(vec![assistant("a")]), Err(Reason::EmptyInput.into()));
        check(vec![user, assistant("a")]).unwrap();
    }
}
