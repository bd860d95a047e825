//! Lists of messages, questions and answers out of cells.

use serde_json::Value;

use super::message::{ChatMessage, message};
use super::reason::{Fault, Reason, broken};
use super::roles::{ASSISTANT, Roles, USER};
use super::tools::is_message_list;
use crate::json_text::{kind, parse_value};

/// What reading cells needs, and what it notes on the way.
pub(super) struct Cells<'a> {
    pub roles: &'a Roles,
    /// Fields of messages that are not read.
    pub unknown: Vec<String>,
}

/// Text, numbers and booleans as text; None for null.
pub(super) fn text(value: &Value, column: &str) -> Result<Option<String>, Fault> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Number(_) | Value::Bool(_) => Ok(Some(value.to_string())),
        other => broken(format!("'{column}' is {}, expected text", kind(other))),
    }
}

/// Who speaks in a transcript.
const SPEAKERS: [(&str, &str); 2] = [("\n\nHuman:", USER), ("\n\nAssistant:", ASSISTANT)];

/// A conversation in one text, as Anthropic's preference data has it: paragraphs that begin with `Human:` or `Assistant:`.
fn transcript(text: &str) -> Option<Vec<ChatMessage>> {
    let text = format!("\n\n{}", text.trim_start());
    let mut begins: Vec<_> = SPEAKERS
        .iter()
        .flat_map(|(mark, role)| text.match_indices(mark).map(|(at, mark)| (at, mark.len(), *role)))
        .collect();
    begins.sort_unstable();
    if begins.first().is_none_or(|(at, ..)| *at > 0) {
        return None;
    }
    let ends = begins.iter().skip(1).map(|(at, ..)| *at).chain([text.len()]);
    let said =
        begins.iter().zip(ends).map(|((at, mark, role), end)| ChatMessage::new(*role, text[at + mark..end].trim()));
    Some(said.collect())
}

impl Cells<'_> {
    /// A conversation: a list of messages, such a list written as JSON text, or a transcript.
    pub fn conversation(&mut self, value: &Value, column: &str) -> Result<Vec<ChatMessage>, Fault> {
        match value {
            Value::Null => Err(Reason::NoMessages.into()),
            Value::Array(items) => self.messages(items, column),
            Value::String(text) if text.trim().is_empty() => Err(Reason::NoMessages.into()),
            Value::String(text) => match parse_value(text) {
                Ok(Value::Array(items)) => self.messages(&items, column),
                _ if text.trim_start().starts_with("[{'") => {
                    broken(format!("'{column}' is a list as Python prints it, expected JSON; write it with json.dumps"))
                }
                _ => match transcript(text) {
                    Some(messages) => Ok(messages),
                    None => broken(format!("'{column}' is text that is no JSON list, expected a list of messages")),
                },
            },
            other => broken(format!("'{column}' is {}, expected a list of messages", kind(other))),
        }
    }

    /// A question: text of the user, a list of messages, or JSON text of such a list.
    pub fn question(&mut self, value: &Value, column: &str) -> Result<Vec<ChatMessage>, Fault> {
        match value {
            Value::Array(items) => self.messages(items, column),
            other => match text(other, column)? {
                Some(text) if !text.trim().is_empty() => match is_message_list(&text) {
                    Some(items) => self.messages(&items, column),
                    None => Ok(vec![ChatMessage::new(USER, text)]),
                },
                _ => Err(Reason::EmptyInput.into()),
            },
        }
    }

    /// An answer: text, a message, a list of messages (or JSON text of one), or a list of texts that are all right, of
    /// which the first is taken.
    pub fn answer(&mut self, value: &Value, column: &str) -> Result<Vec<ChatMessage>, Fault> {
        let first = match value {
            Value::Array(items) => match items.first() {
                Some(Value::Object(_)) => return self.messages(items, column),
                Some(first) => first,
                None => return Err(Reason::EmptyOutput.into()),
            },
            Value::Object(_) => return self.messages(std::slice::from_ref(value), column),
            other => other,
        };
        match text(first, column)? {
            Some(text) if !text.trim().is_empty() => match is_message_list(&text) {
                Some(items) => self.messages(&items, column),
                None => Ok(vec![ChatMessage::new(ASSISTANT, text)]),
            },
            _ => Err(Reason::EmptyOutput.into()),
        }
    }

    /// Alpaca's history: a list of [question, answer], or JSON text of it.
    pub fn history(value: &Value, column: &str) -> Result<Vec<ChatMessage>, Fault> {
        let parsed;
        let turns = match value {
            Value::Null => return Ok(Vec::new()),
            Value::String(text) if text.trim().is_empty() => return Ok(Vec::new()),
            Value::Array(turns) => turns,
            Value::String(text) => match parse_value(text) {
                Ok(Value::Array(turns)) => {
                    parsed = turns;
                    &parsed
                }
                _ => return broken(format!("'{column}' is text that is no JSON list, expected a list of pairs")),
            },
            other => return broken(format!("'{column}' is {}, expected a list of pairs", kind(other))),
        };
        let mut out = Vec::with_capacity(2 * turns.len());
        for turn in turns {
            let Some([asked, answered]) = turn.as_array().map(Vec::as_slice) else {
                return broken(format!("'{column}' holds a turn that is no pair [question, answer]"));
            };
            for (role, said) in [(USER, asked), (ASSISTANT, answered)] {
                if let Some(said) = text(said, column)? {
                    out.push(ChatMessage::new(role, said));
                }
            }
        }
        Ok(out)
    }

    fn messages(&mut self, items: &[Value], column: &str) -> Result<Vec<ChatMessage>, Fault> {
        let each = items.iter().enumerate().map(|(i, item)| {
            let parsed;
            let object = match item {
                Value::Object(object) => object,
                // Tables without a type for JSON have each message as a text.
                Value::String(text) => match parse_value(text) {
                    Ok(Value::Object(object)) => {
                        parsed = object;
                        &parsed
                    }
                    _ => return broken(format!("message {} of '{column}' is text that is no JSON object", i + 1)),
                },
                _ => {
                    return broken(format!(
                        "message {} of '{column}' is {}, expected an object with role and content",
                        i + 1,
                        kind(item)
                    ));
                }
            };
            message(object, self.roles, &mut self.unknown).map_err(|fault| match fault {
                Fault::Broken(told) => Fault::Broken(format!("message {} of '{column}' {told}", i + 1)),
                drop @ Fault::Drop(_) => drop,
            })
        });
        each.collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cells(roles: &Roles) -> Cells<'_> {
        Cells { roles, unknown: Vec::new() }
    }

    fn said(messages: &[ChatMessage]) -> Vec<(&str, &str)> {
        messages.iter().map(|m| (&*m.role, m.content.as_deref().unwrap_or("null"))).collect()
    }

    #[test]
    fn both_ways_to_write_a_message() {
        let value = json!([
            {"role": "system", "content": "s"},
            {"from": "human", "value": "q"},
            {"from": "gpt", "value": [{"type": "text", "text": "a"}]},
        ]);
        let roles = Roles::default();
        let got = cells(&roles).conversation(&value, "messages").unwrap();
        assert_eq!(said(&got), [("system", "s"), ("user", "q"), ("assistant", "a")]);
        let as_text = Value::String(value.to_string());
        assert_eq!(cells(&roles).conversation(&as_text, "messages").unwrap(), got);
    }

    #[test]
    fn transcripts_are_conversations_and_pythons_lists_are_told() {
        let roles = Roles::default();
        let text = Value::from("\n\nHuman: Who is Human: 7?\n\nAssistant: a\n\nb\n\nHuman: q\n\nAssistant:");
        let got = cells(&roles).conversation(&text, "chosen").unwrap();
        assert_eq!(
            said(&got),
            [("user", "Who is Human: 7?"), ("assistant", "a\n\nb"), ("user", "q"), ("assistant", "")]
        );
        for (text, what) in [("so Human: q", "no JSON list"), ("[{'role': 'user'}]", "write it with json.dumps")] {
            let found = cells(&roles).conversation(&text.into(), "messages");
            assert!(matches!(&found, Err(Fault::Broken(told)) if told.contains(what)), "{found:?}");
        }
    }

    #[test]
    fn examples_in_the_system_role_are_turns() {
        let value = json!([{"role": "system", "name": "example_user", "content": "q"}]);
        let got = cells(&Roles::default()).conversation(&value, "input").unwrap();
        assert_eq!(got, [ChatMessage::new("user", "q")]);
    }

    #[test]
    fn unknown_roles_are_told() {
        let value = json!([{"role": "user", "content": "q"}, {"role": "narrator", "content": ""}]);
        let Err(Fault::Broken(told)) = cells(&Roles::default()).conversation(&value, "messages") else {
            panic!();
        };
        let start = "message 2 of 'messages' has the role 'narrator'; known are: system, ";
        assert!(told.starts_with(start), "{told}");
        let roles: Roles = "narrator=system".parse().unwrap();
        assert_eq!(cells(&roles).conversation(&value, "messages").unwrap()[1].role, "system");
    }

    #[test]
    fn the_first_of_several_answers() {
        let roles = Roles::default();
        let answer = |value: Value| cells(&roles).answer(&value, "ideal");
        assert_eq!(said(&answer(json!(["Paris", "paris"])).unwrap()), [("assistant", "Paris")]);
        assert_eq!(answer(json!([])), Err(Reason::EmptyOutput.into()));
        assert_eq!(said(&answer(json!(42)).unwrap()), [("assistant", "42")]);
    }

    #[test]
    fn messages_as_json_in_a_prompt_are_messages_and_other_lists_are_words() {
        let roles = Roles::default();
        let question = |text: &str| cells(&roles).question(&text.into(), "prompt").unwrap();
        assert_eq!(said(&question(r#" [{"role": "user", "content": "q"}]"#)), [("user", "q")]);
        for words in ["[1, 2]", "[{\"a\": 1}]", "[{broken", "[{\"role\": \"user\"}] and more"] {
            assert_eq!(said(&question(words)), [("user", words)]);
        }
    }
}
