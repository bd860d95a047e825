//! One turn of a conversation.

use serde_json::{Map, Value as Json};

/// One turn of a conversation: named values, of which `role` says who speaks and
/// `content` what is said; `tool_calls`, `tool_call_id`, `name`, `reasoning_content` and
/// whatever else the template asks for stand beside them.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    fields: Map<String, Json>,
    /// What the data say of learning it; no field, for no template asks.
    learned: Option<bool>,
}

/// The names under which a message's reasoning is found; transformers reads them in
/// this order and fills the first two.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

impl Message {
    /// A turn of `role` that says `content`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        let fields = [("role", role.into()), ("content", content.into())];
        Self {
            fields: fields.map(|(name, text)| (name.to_owned(), Json::String(text))).into_iter().collect(),
            learned: None,
        }
    }

    /// A turn of any fields. Those that are null are left out, as in transformers:
    /// templates ask whether a field is there.
    pub fn from_fields(mut fields: Map<String, Json>) -> Self {
        fields.retain(|_, value| !value.is_null());
        Self { fields, learned: None }
    }

    /// Whether this message is learned, where the data say so (`weight`, `train`, …).
    pub fn learned(&self) -> Option<bool> {
        self.learned
    }

    /// Says whether it is learned.
    pub fn set_learned(&mut self, learned: Option<bool>) {
        self.learned = learned;
    }

    /// What was thought before the answer, under whichever of its names.
    pub fn reasoning(&self) -> Option<&str> {
        REASONING.iter().find_map(|name| self.text_of(name))
    }

    /// All fields, in order.
    pub fn fields(&self) -> &Map<String, Json> {
        &self.fields
    }

    /// Who speaks: `system`, `user`, `assistant`, `tool`, or what else the template
    /// knows; empty if the message does not say.
    pub fn role(&self) -> &str {
        self.text_of("role").unwrap_or_default()
    }

    /// What is said, if it is a text (and not, say, a list of parts).
    pub fn content(&self) -> Option<&str> {
        self.text_of("content")
    }

    /// Puts another text in the place of `content`.
    pub fn set_content(&mut self, text: impl Into<String>) {
        self.fields.insert("content".into(), Json::String(text.into()));
    }

    /// Whether the model is the one who speaks.
    pub fn is_assistant(&self) -> bool {
        self.role() == "assistant"
    }

    fn text_of(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.as_str()
    }

    /// Whether there is nothing but a role and a text.
    pub(super) fn is_plain(&self) -> bool {
        self.fields.len() == 2 && self.text_of("role").is_some() && self.content().is_some()
    }

    /// The fields as templates get them. Reasoning is found under `reasoning_content`
    /// and, for templates of gpt-oss, under `thinking`, whichever of its names it came
    /// with (transformers does the same).
    pub(super) fn for_template(&self) -> Map<String, Json> {
        let reasoning = REASONING.iter().find_map(|name| self.fields.get(*name));
        let Some(reasoning) = reasoning else {
            return self.fields.clone();
        };
        let mut out = Map::with_capacity(self.fields.len() + 2);
        out.insert("thinking".into(), reasoning.clone());
        out.extend(self.fields.iter().map(|(name, value)| (name.clone(), value.clone())));
        out.insert("reasoning_content".into(), reasoning.clone());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(value: &Json) -> Message {
        Message::from_fields(value.as_object().unwrap().clone())
    }

    #[test]
    fn null_fields_are_no_fields() {
        let m = message(&json!({"role": "assistant", "content": null, "tool_calls": [{"id": null}]}));
        assert_eq!(Json::Object(m.fields().clone()), json!({"role": "assistant", "tool_calls": [{"id": null}]}));
        assert_eq!((m.role(), m.content(), m.is_plain()), ("assistant", None, false));
        assert!(Message::new("user", "x").is_plain());
    }

    #[test]
    fn reasoning_has_two_names() {
        let m = message(&json!({"role": "assistant", "reasoning": "r"}));
        let names: Vec<String> = m.for_template().keys().cloned().collect();
        assert_eq!(names, ["thinking", "role", "reasoning", "reasoning_content"]);
        let both = message(&json!({"reasoning_content": "a", "thinking": "b"})).for_template();
        assert_eq!((&both["thinking"], &both["reasoning_content"]), (&json!("b"), &json!("a")));
    }
}
