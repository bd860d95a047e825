//! The words of a run's configuration, as whoever started it gave them.

use serde_json::{Map, Value};

/// All arguments by name; records and checkpoints keep them, and ranks compare theirs.
#[derive(Debug, Clone, Default)]
pub struct Configuration {
    /// Each argument's value.
    pub values: Map<String, Value>,
    /// Where each comes from: `default`, `file`, `flag` …
    pub origins: Map<String, Value>,
    /// Names of other programs' arguments that are accepted and have no effect.
    pub without_effect: Vec<String>,
    /// What was typed, as `run.json` keeps it.
    pub typed: Vec<String>,
}

impl Configuration {
    /// The arguments that a file or a flag gave.
    pub fn given(&self) -> Map<String, Value> {
        let given = |key: &str| self.origins.get(key).is_some_and(|origin| origin != "default");
        self.values.iter().filter(|(key, _)| given(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}
