//! Messages and the template's variables as minijinja objects.
//!
//! A row's values are made once and shared between its renderings; the objects
//! answer by name, so that no map is built per rendering.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::Value;
use minijinja::value::{Enumerator, Object};

use super::Message;

/// One message: a map of `role` and `content`.
#[derive(Debug)]
pub(super) struct MessageValue {
    role: Value,
    content: Value,
}

impl MessageValue {
    pub(super) fn value(message: &Message) -> Value {
        Value::from_object(Self {
            role: Value::from(message.role.as_str()),
            content: Value::from(message.content.as_str()),
        })
    }
}

impl Object for MessageValue {
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

/// The variables of one rendering.
#[derive(Debug)]
pub(super) struct Context {
    messages: Value,
    add_generation_prompt: bool,
    base: Arc<BTreeMap<String, Value>>,
}

impl Context {
    pub(super) fn new(messages: Vec<Value>, add_generation_prompt: bool, base: Arc<BTreeMap<String, Value>>) -> Self {
        Self { messages: Value::from(messages), add_generation_prompt, base }
    }
}

impl Object for Context {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        match key {
            "messages" => Some(self.messages.clone()),
            "add_generation_prompt" => Some(Value::from(self.add_generation_prompt)),
            _ => self.base.get(key).cloned(),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let mut names = vec![Value::from("messages"), Value::from("add_generation_prompt")];
        names.extend(self.base.keys().map(|k| Value::from(k.as_str())));
        Enumerator::Values(names)
    }
}
