//! Log entries, and JSON files in the style of Hugging Face's Trainer.

use std::io::Write;
use std::path::Path;

use ft_io::AtomicFile;
use serde_json::{Map, Value};

use crate::error::{Context, Result};

/// A log entry: figures by name.
pub type Entry = Map<String, Value>;

/// The map of a `json!` object.
pub fn entry(value: Value) -> Entry {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Writes a JSON file of Trainer's style in one go.
///
/// # Errors
/// If it cannot be written.
pub fn write_json(path: &Path, value: &Value) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    write_file(path, &text)
}

/// Writes a file whole or not at all.
///
/// # Errors
/// If it cannot be written.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).with_context(|| format!("cannot write '{}'", path.display()))?;
    Ok(file.commit()?)
}

/// A number rounded as people read it; the full one is in memory only.
pub fn rounded(x: f64, digits: i32) -> f64 {
    let factor = 10f64.powi(digits);
    (x * factor).round() / factor
}
