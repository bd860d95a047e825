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
