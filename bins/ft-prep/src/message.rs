//! Messages from the many ways in which data sets write them.

use ft_table::kind;
use serde_json::{Map, Value};

use crate::drops::Drop;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `system`, `user`, `assistant`, …
    pub role: &'static str,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A message.
    pub fn new(role: &'static str, content: impl Into<String>) -> Self {
        Self { role, content: content.into() }
    }

    fn is_blank(&self) -> bool {
        self.content.trim().is_empty()
    }
}

/// Why a row gives no example.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is left out and counted.
    Drop(Drop),
    /// It cannot be understood: an error.
    Broken(String),
}

impl From<Drop> for Fault {
    fn from(why: Drop) -> Self {
        Self::Drop(why)
    }
}

fn broken<T>(told: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Broken(told.into()))
}

/// The names of roles, as `role` and ShareGPT's `from` have them.
const ROLES: [(&str, &str); 14] = [
    ("system", "system"),
    ("developer", "developer"),
    ("user", "user"),
    ("human", "user"),
    ("assistant", "assistant"),
    ("gpt", "assistant"),
    ("chatgpt", "assistant"),
    ("model", "assistant"),
    ("bot", "assistant"),
    ("ai", "assistant"),
    ("tool", "tool"),
    ("function", "tool"),
    ("observation", "tool"),
    ("ipython", "tool"),
];

/// Text, numbers and booleans as text; None for null.
pub fn text(value: &Value, column: &str) -> Result<Option<String>, Fault> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Number(_) | Value::Bool(_) => Ok(Some(value.to_string())),
        other => broken(format!("'{column}' is {}, expected text", kind(other))),
    }
}

/// A conversation: a list of messages, or such a list written as JSON text.
pub fn conversation(value: &Value, column: &str) -> Result<Vec<Message>, Fault> {
    match value {
        Value::Null => Err(Drop::NoMessages.into()),
        Value::Array(items) => messages(items, column),
        Value::String(text) if text.trim().is_empty() => Err(Drop::NoMessages.into()),
        Value::String(text) => match serde_json::from_str(text) {
            Ok(Value::Array(items)) => messages(&items, column),
            _ => broken(format!("'{column}' is text that is no JSON list, expected a list of messages")),
        },
        other => broken(format!("'{column}' is {}, expected a list of messages", kind(other))),
    }
}

/// A question: text of the user, or a list of messages.
pub fn question(value: &Value, column: &str) -> Result<Vec<Message>, Fault> {
    match value {
        Value::Array(items) => messages(items, column),
        other => match text(other, column)? {
            Some(text) if !text.trim().is_empty() => Ok(vec![Message::new("user", text)]),
            _ => Err(Drop::EmptyInput.into()),
        },
    }
}

/// An answer: text, a list of messages, or a list of texts that are all right,
/// of which the first is taken.
pub fn answer(value: &Value, column: &str) -> Result<Vec<Message>, Fault> {
    let first = match value {
        Value::Array(items) => match items.first() {
            Some(Value::Object(_)) => return messages(items, column),
            Some(first) => first,
            None => return Err(Drop::EmptyOutput.into()),
        },
        other => other,
    };
    match text(first, column)? {
        Some(text) if !text.trim().is_empty() => Ok(vec![Message::new("assistant", text)]),
        _ => Err(Drop::EmptyOutput.into()),
    }
}

/// Alpaca's history: a list of [question, answer].
pub fn history(value: &Value, column: &str) -> Result<Vec<Message>, Fault> {
    let turns = match value {
        Value::Null => return Ok(Vec::new()),
        Value::String(text) if text.trim().is_empty() => return Ok(Vec::new()),
        Value::Array(turns) => turns,
        other => {
            let told = format!("'{column}' is {}, expected a list of pairs", kind(other));
            return broken(told);
        }
    };
    let mut out = Vec::with_capacity(2 * turns.len());
    for turn in turns {
        let Some([asked, answered]) = turn.as_array().map(Vec::as_slice) else {
            return broken(format!("'{column}' holds a turn that is no pair [question, answer]"));
        };
        for (role, said) in [("user", asked), ("assistant", answered)] {
            if let Some(said) = text(said, column)? {
                out.push(Message::new(role, said));
            }
        }
    }
    Ok(out)
}

/// Checks that something is asked and something answered, and takes blank
/// system messages out.
pub fn complete(mut messages: Vec<Message>) -> Result<Vec<Message>, Fault> {
    messages.retain(|message| message.role != "system" || !message.is_blank());
    if messages.is_empty() {
        return Err(Drop::NoMessages.into());
    }
    let mut answers = messages.iter().filter(|m| m.role == "assistant");
    let Some(last) = answers.next_back() else {
        return Err(Drop::NoAnswer.into());
    };
    if last.is_blank() {
        return Err(Drop::EmptyOutput.into());
    }
    let asked = |m: &Message| m.role != "assistant" && m.role != "system" && !m.is_blank();
    // Data of the evals kind asks in the system message alone.
    if !messages.iter().any(asked) && !messages.iter().any(|m| m.role == "system") {
        return Err(Drop::EmptyInput.into());
    }
    Ok(messages)
}

fn messages(items: &[Value], column: &str) -> Result<Vec<Message>, Fault> {
    let each = items.iter().enumerate().map(|(i, item)| {
        let Value::Object(object) = item else {
            return broken(format!(
                "message {} of '{column}' is {}, expected an object with role and content",
                i + 1,
                kind(item)
            ));
        };
        message(object).map_err(|fault| match fault {
            Fault::Broken(told) => Fault::Broken(format!("message {} of '{column}' {told}", i + 1)),
            drop @ Fault::Drop(_) => drop,
        })
    });
    each.collect()
}

fn message(object: &Map<String, Value>) -> Result<Message, Fault> {
    let either = |a: &str, b: &str| object.get(a).or_else(|| object.get(b));
    let Some(Value::String(role)) = either("role", "from") else {
        return broken("has no 'role' (or 'from')");
    };
    let lower = role.to_ascii_lowercase();
    let Some(&(_, role)) = ROLES.iter().find(|(name, _)| *name == lower) else {
        let known: Vec<_> = ROLES.iter().map(|(name, _)| *name).collect();
        return broken(format!("has the role '{role}'; known are: {}", known.join(", ")));
    };
    // OpenAI's way of writing examples into the system message.
    let role = match object.get("name").and_then(Value::as_str) {
        Some("example_user") if role == "system" => "user",
        Some("example_assistant") if role == "system" => "assistant",
        _ => role,
    };
    let content = content(either("content", "value"))?;
    Ok(Message { role, content })
}

/// Text, or a list of parts that are all text.
fn content(value: Option<&Value>) -> Result<String, Fault> {
    match value {
        None | Some(Value::Null) => Err(Drop::NotText.into()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(number @ (Value::Number(_) | Value::Bool(_))) => Ok(number.to_string()),
        Some(Value::Array(parts)) => {
            let text = |part: &Value| match part {
                Value::String(text) => Some(text.clone()),
                Value::Object(part) => part.get("text")?.as_str().map(str::to_owned),
                _ => None,
            };
            let texts: Option<Vec<_>> = parts.iter().map(text).collect();
            Ok(texts.ok_or(Drop::NotText)?.concat())
        }
        Some(Value::Object(_)) => broken("has an object as content, expected text"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(messages: &[Message]) -> Vec<(&str, &str)> {
        let pair = |m: &'_ Message| (m.role, m.content.clone().leak() as &str);
        messages.iter().map(pair).collect()
    }

    #[test]
    fn both_ways_to_write_a_message() {
        let value = json!([
            {"role": "system", "content": "s"},
            {"from": "human", "value": "q"},
            {"from": "gpt", "value": [{"type": "text", "text": "a"}]},
        ]);
        let got = conversation(&value, "messages").unwrap();
        let expected = [("system", "s"), ("user", "q"), ("assistant", "a")];
        assert_eq!(said(&got), expected);
        let as_text = Value::String(value.to_string());
        assert_eq!(conversation(&as_text, "messages").unwrap(), got);
    }

    #[test]
    fn examples_in_the_system_role_are_turns() {
        let value = json!([{"role": "system", "name": "example_user", "content": "q"}]);
        let got = conversation(&value, "input").unwrap();
        assert_eq!(said(&got), [("user", "q")]);
    }

    #[test]
    fn unknown_roles_are_told() {
        let value = json!([{"role": "user", "content": "q"}, {"role": "narrator", "content": ""}]);
        let Err(Fault::Broken(told)) = conversation(&value, "messages") else {
            panic!();
        };
        let start = "message 2 of 'messages' has the role 'narrator'; known are: system, ";
        assert!(told.starts_with(start), "{told}");
    }

    #[test]
    fn the_first_of_several_answers() {
        let got = answer(&json!(["Paris", "paris"]), "ideal").unwrap();
        assert_eq!(said(&got), [("assistant", "Paris")]);
        assert_eq!(answer(&json!([]), "ideal"), Err(Drop::EmptyOutput.into()));
        assert_eq!(said(&answer(&json!(42), "ideal").unwrap()), [("assistant", "42")]);
    }

    #[test]
    fn incomplete_conversations_are_dropped() {
        let user = Message::new("user", "q");
        let assistant = |text: &str| Message::new("assistant", text);
        assert_eq!(complete(vec![]), Err(Drop::NoMessages.into()));
        assert_eq!(complete(vec![user.clone()]), Err(Drop::NoAnswer.into()));
        let blank = vec![user.clone(), assistant(" ")];
        assert_eq!(complete(blank), Err(Drop::EmptyOutput.into()));
        assert_eq!(complete(vec![assistant("a")]), Err(Drop::EmptyInput.into()));
        assert_eq!(complete(vec![user, assistant("a")]).unwrap().len(), 2);
    }
}
