//! Messages and the template's variables as minijinja objects.
//!
//! A row's values are made once and shared between its renderings; the objects
//! answer by name, so that no map is built per rendering.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::Value;
use minijinja::value::{Enumerator, Object};
use serde_json::{Map, Value as Json};

use super::beginnings::Trace;
use super::message::Message;

/// JSON as the template sees it, the keys in their order.
pub(super) fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(flag) => Value::from(*flag),
        Json::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(n), _) => Value::from(n),
            (None, Some(n)) => Value::from(n),
            (None, None) => Value::from(n.as_f64()),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::from(items.iter().map(value).collect::<Vec<_>>()),
        Json::Object(fields) => map(fields),
    }
}

fn map(fields: &Map<String, Json>) -> Value {
    Value::from_pairs(fields.iter().map(|(name, field)| (name.as_str(), value(field))))
}

/// A message of `role` and `content` alone, which most are.
#[derive(Debug)]
struct PlainMessage {
    role: Value,
    content: Value,
}

/// A message as the template sees it.
pub(super) fn message(message: &Message) -> Value {
    match message.content() {
        Some(content) if message.is_plain() => {
            Value::from_object(PlainMessage { role: Value::from(message.role()), content: Value::from(content) })
        }
        _ => map(&message.for_template()),
    }
}

impl Object for PlainMessage {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        match key {
            "role" => Some(self.role.clone()),
            "content" => Some(self.content.clone()),
            _ => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&["role", "content"])
    }
}

/// `messages` and `add_generation_prompt`.
#[derive(Debug)]
pub(super) enum Messages {
    Plain { messages: Value, add_generation_prompt: bool },
    Noted(Trace),
}

/// The variables of one rendering.
#[derive(Debug)]
pub(super) struct Context {
    messages: Messages,
    /// The row's own variables.
    own: Arc<BTreeMap<String, Value>>,
    /// What the template's variables are where the row says nothing.
    base: Arc<BTreeMap<String, Value>>,
}

impl Context {
    pub(super) fn new(
        messages: Messages,
        own: Arc<BTreeMap<String, Value>>,
        base: Arc<BTreeMap<String, Value>>,
    ) -> Self {
        Self { messages, own, base }
    }
}

impl Object for Context {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let given = match (&self.messages, key) {
            (Messages::Plain { messages, .. }, "messages") => Some(messages.clone()),
            (Messages::Plain { add_generation_prompt, .. }, "add_generation_prompt") => {
                Some(Value::from(*add_generation_prompt))
            }
            (Messages::Plain { .. }, _) => None,
            (Messages::Noted(trace), _) => trace.variable(key),
        };
        given.or_else(|| self.own.get(key).or_else(|| self.base.get(key)).cloned())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let mut names = vec![Value::from("messages"), Value::from("add_generation_prompt")];
        names.extend(self.own.keys().map(|k| Value::from(k.as_str())));
        names.extend(self.base.keys().filter(|k| !self.own.contains_key(*k)).map(|k| Value::from(k.as_str())));
        Enumerator::Values(names)
    }
}
