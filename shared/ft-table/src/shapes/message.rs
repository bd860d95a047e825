//! One message, in the many ways in which data sets write it.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::content::content;
use super::flags::{is_flag, train};
use super::reason::{Fault, Reason, broken};
use super::roles::{ASSISTANT, CALLER, Roles, SYSTEM, USER};
use super::tools::{called, calls};
use crate::json_text::kind;

/// One message; the fields are those of [`crate::schema`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChatMessage {
    /// `system`, `user`, `assistant`, …
    pub role: Cow<'static, str>,
    /// What is said; none only beside `tool_calls`.
    pub content: Option<String>,
    /// Who speaks.
    pub name: Option<String>,
    /// What was thought before it.
    pub reasoning_content: Option<String>,
    /// The calls that it makes, a list.
    pub tool_calls: Option<Value>,
    /// The call that it answers.
    pub tool_call_id: Option<String>,
    /// Whether it is learned, where the data says so.
    pub train: Option<bool>,
}

/// What is read of a message.
const KNOWN: [&str; 12] = [
    "role",
    "from",
    "content",
    "value",
    "name",
    "reasoning_content",
    "reasoning",
    "thinking",
    "tool_calls",
    "function_call",
    "tool_call_id",
    "refusal",
];

impl ChatMessage {
    /// A message that is text and nothing else.
    pub fn new(role: impl Into<Cow<'static, str>>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: Some(content.into()), ..Self::default() }
    }

    /// Whether it says nothing and calls nothing.
    pub fn is_blank(&self) -> bool {
        self.content.as_ref().is_none_or(|text| text.trim().is_empty()) && self.tool_calls.is_none()
    }
}

/// The message that an object is; `unknown` takes the names of what is not read.
pub(super) fn message(
    object: &Map<String, Value>,
    roles: &Roles,
    unknown: &mut Vec<String>,
) -> Result<ChatMessage, Fault> {
    let present = |key: &str| object.get(key).filter(|value| !value.is_null());
    let Some(Value::String(named)) = present("role").or(present("from")) else {
        return broken("has no 'role' (or 'from')");
    };
    let Some(role) = roles.role(named) else {
        return broken(format!(
            "has the role '{named}'; known are: {}; --roles {named}=user (or another) says what it is",
            roles.names()
        ));
    };
    let said = content(present("content").or(present("value")))?;
    let mut message = ChatMessage {
        role,
        content: said.text.or(text_of(object, "refusal")?),
        name: text_of(object, "name")?,
        reasoning_content: reasoning(object)?.or(said.thought),
        tool_calls: calls(object)?,
        tool_call_id: text_of(object, "tool_call_id")?,
        train: train(object)?,
    };
    if message.role == CALLER {
        message.tool_calls = Some(called(message.content.as_deref())?);
        message.content = None;
        message.role = ASSISTANT.into();
    }
    take_examples_of_system(&mut message);
    if message.content.is_none() && message.tool_calls.is_none() {
        if message.reasoning_content.is_none() {
            return Err(Reason::NoContent.into());
        }
        message.content = Some(String::new());
    }
    unknown.extend(
        object
            .iter()
            .filter(|(key, value)| !value.is_null() && !KNOWN.contains(&key.as_str()) && !is_flag(key))
            .map(|(key, _)| key.clone()),
    );
    Ok(message)
}

/// OpenAI's way of writing examples into the system message.
fn take_examples_of_system(message: &mut ChatMessage) {
    let role = match message.name.as_deref() {
        Some("example_user") if message.role == SYSTEM => USER,
        Some("example_assistant") if message.role == SYSTEM => ASSISTANT,
        _ => return,
    };
    message.role = role.into();
    message.name = None;
}

fn reasoning(object: &Map<String, Value>) -> Result<Option<String>, Fault> {
    for key in ["reasoning_content", "reasoning", "thinking"] {
        if let Some(text) = text_of(object, key)?.filter(|text| !text.is_empty()) {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

/// A text, a number or a flag as text; none for null.
fn text_of(object: &Map<String, Value>, key: &str) -> Result<Option<String>, Fault> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(value.to_string())),
        Some(other) => broken(format!("has {} as '{key}', expected text", kind(other))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: &Value) -> Result<ChatMessage, Fault> {
        message(value.as_object().unwrap(), &Roles::default(), &mut Vec::new())
    }

    #[test]
    fn everything_of_a_message_is_kept() {
        let call = json!([{"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}]);
        let found = read(&json!({
            "role": "assistant", "content": null, "tool_calls": call, "reasoning": "because", "weight": 0, "name": "n",
        }));
        let expected = ChatMessage {
            role: "assistant".into(),
            name: Some("n".into()),
            reasoning_content: Some("because".into()),
            tool_calls: Some(call),
            train: Some(false),
            ..ChatMessage::default()
        };
        assert_eq!(found.unwrap(), expected);
        let found = read(&json!({"role": "tool", "content": 7, "tool_call_id": "c1"})).unwrap();
        assert_eq!((found.content.as_deref(), found.tool_call_id.as_deref()), (Some("7"), Some("c1")));
    }

    #[test]
    fn calls_in_their_older_forms() {
        let call = json!([{"type": "function", "function": {"name": "f", "arguments": "{}"}}]);
        for old in [
            json!({"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{}"}}),
            json!({"from": "function_call", "value": r#"{"name": "f", "arguments": "{}"}"#}),
            json!({"role": "assistant", "content": null, "tool_calls": call.to_string()}),
        ] {
            assert_eq!(read(&old).unwrap().tool_calls.as_ref(), Some(&call), "{old}");
        }
    }

    #[test]
    fn what_is_not_read_is_told() {
        let mut unknown = Vec::new();
        let object = json!({"role": "user", "content": "q", "mood": "good", "audio": null});
        message(object.as_object().unwrap(), &Roles::default(), &mut unknown).unwrap();
        assert_eq!(unknown, ["mood"]);
    }
}
