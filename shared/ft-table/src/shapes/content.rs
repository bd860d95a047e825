//! What a message says: a text, or a list of parts.

use serde_json::{Map, Value};

use super::reason::{Fault, Part, Reason, broken};

/// The texts of a message's content.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// The text; none where the content is null.
    pub text: Option<String>,
    /// Parts that are thoughts.
    pub thought: Option<String>,
}

/// Text, or a list of parts whose texts are joined; a part that is no text is told by its kind.
pub(super) fn content(value: Option<&Value>) -> Result<Said, Fault> {
    match value {
        None | Some(Value::Null) => Ok(Said::default()),
        Some(Value::String(text)) => Ok(Said { text: Some(text.clone()), thought: None }),
        Some(number @ (Value::Number(_) | Value::Bool(_))) => {
            Ok(Said { text: Some(number.to_string()), thought: None })
        }
        Some(Value::Array(parts)) => parts_of(parts),
        Some(Value::Object(_)) => broken("has an object as content, expected text"),
    }
}

fn parts_of(parts: &[Value]) -> Result<Said, Fault> {
    let (mut text, mut thought) = (String::new(), String::new());
    for part in parts {
        match part {
            Value::String(said) => text.push_str(said),
            Value::Object(part) => {
                let kind = part.get("type").and_then(Value::as_str).unwrap_or("text");
                let said = |key: &str| part.get(key).and_then(Value::as_str);
                match kind {
                    "text" | "input_text" | "output_text" => text.push_str(said("text").ok_or(other(part))?),
                    "refusal" => text.push_str(said("refusal").or(said("text")).ok_or(other(part))?),
                    "thinking" | "reasoning" => {
                        thought.push_str(said("thinking").or(said("reasoning")).or(said("text")).ok_or(other(part))?);
                    }
                    _ => return Err(Reason::NotText(part_kind(kind)).into()),
                }
            }
            _ => return Err(Reason::NotText(Part::Other).into()),
        }
    }
    Ok(Said { text: Some(text), thought: (!thought.is_empty()).then_some(thought) })
}

/// A part without the text that it should have; what it has instead says what it is.
fn other(part: &Map<String, Value>) -> Fault {
    let held = part.iter().find(|(key, value)| *key != "type" && !value.is_null());
    Reason::NotText(held.map_or(Part::Other, |(key, _)| part_kind(key))).into()
}

fn part_kind(kind: &str) -> Part {
    let has = |word: &str| kind.contains(word);
    if has("image") {
        Part::Image
    } else if has("audio") {
        Part::Audio
    } else if has("video") {
        Part::Video
    } else if has("file") || has("document") {
        Part::File
    } else {
        Part::Other
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parts_are_joined_and_what_is_no_text_is_told_by_kind() {
        let said = content(Some(&json!([
            {"type": "thinking", "thinking": "t"}, "a", {"type": "text", "text": "b", "image": null}, {"text": "c"},
        ])));
        assert_eq!(said.unwrap(), Said { text: Some("abc".into()), thought: Some("t".into()) });
        for (part, kind) in [
            (json!({"type": "image_url", "image_url": {"url": "x"}}), Part::Image),
            (json!({"type": "input_audio", "input_audio": {}}), Part::Audio),
            (json!({"type": "video"}), Part::Video),
            (json!({"type": "file", "file": {}}), Part::File),
            (json!({"image": "x"}), Part::Image),
            (json!({"type": "tool_use"}), Part::Other),
            (json!(7), Part::Other),
        ] {
            assert_eq!(content(Some(&json!([part]))), Err(Reason::NotText(kind).into()), "{part}");
        }
    }
}
