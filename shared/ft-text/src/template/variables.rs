//! What a conversation gives the template besides its messages.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::Value;
use serde_json::{Map, Value as Json};

use super::values;

/// The template's variables beside the messages: `tools`, `documents`, and those that
/// single models know (`enable_thinking`). What is not here is what the model says of it
/// (the special tokens), else `none` for the first two, else undefined.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    values: Arc<BTreeMap<String, Value>>,
}

impl Variables {
    /// The variables of a map. `messages` and `add_generation_prompt` in it count for
    /// nothing.
    pub fn new(values: &Map<String, Json>) -> Self {
        let values = values.iter().map(|(name, value)| (name.clone(), values::value(value))).collect();
        Self { values: Arc::new(values) }
    }

    /// The same without the tools.
    #[must_use]
    pub fn without_tools(&self) -> Self {
        let mut values = (*self.values).clone();
        values.remove("tools");
        Self { values: Arc::new(values) }
    }

    /// Whether there is a list of tools.
    pub fn has_tools(&self) -> bool {
        self.values.get("tools").is_some_and(|tools| !tools.is_none())
    }

    pub(super) fn values(&self) -> Arc<BTreeMap<String, Value>> {
        Arc::clone(&self.values)
    }
}
