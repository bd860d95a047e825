//! `metrics.jsonl`, a JSON object a line.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};
use crate::json::Entry;

/// The file, open.
pub struct Metrics {
    path: PathBuf,
    file: File,
}

impl Metrics {
    /// Starts the file of a run anew with what is already logged (after a resume).
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn create(dir: &Path, history: &[Entry]) -> Result<Self> {
        let path = dir.join("metrics.jsonl");
        let file = File::create(&path).with_context(|| format!("cannot write '{}'", path.display()))?;
        let mut metrics = Self { path, file };
        history.iter().try_for_each(|entry| metrics.write(entry))?;
        Ok(metrics)
    }

    /// Adds a line.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&mut self, entry: &Entry) -> Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        self.file.write_all(&line).with_context(|| format!("cannot write '{}'", self.path.display()))
    }
}
