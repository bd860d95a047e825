//! `rows.jsonl`: the rows that each step saw, a JSON object a step.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::data::dataset::Dataset;
use crate::error::{Context, Result};

/// The file's name.
pub const FILE: &str = "rows.jsonl";

/// The file, open; nothing of it stays in memory.
pub struct Rows {
    path: PathBuf,
    file: File,
}

impl Rows {
    /// Opens the file of a run that has taken `steps` steps: what it says of later ones (a resume takes them once more)
    /// goes.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn create(dir: &Path, steps: u64) -> Result<Self> {
        let path = dir.join(FILE);
        let in_it = || format!("cannot write '{}'", path.display());
        let kept = if steps > 0 && path.exists() { length(&path, steps).with_context(in_it)? } else { 0 };
        let file = File::options().create(true).append(true).open(&path).with_context(in_it)?;
        file.set_len(kept).with_context(in_it)?;
        Ok(Self { path, file })
    }

    /// Adds what step `step` sees: `rows` are places in `data`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&mut self, step: u64, data: &Dataset, rows: &[usize]) -> Result<()> {
        let row = |&sequence: &usize| {
            let mut told = json!({"row": data.row(sequence)});
            if let Some(source) = data.source(sequence) {
                told["source_file"] = source.source_file.as_deref().map_or(Value::Null, Value::from);
                told["source_row"] = source.source_row.map_or(Value::Null, Value::from);
            }
            told
        };
        let mut line = serde_json::to_vec(&json!({"step": step, "rows": rows.iter().map(row).collect::<Vec<_>>()}))?;
        line.push(b'\n');
        self.file.write_all(&line).with_context(|| format!("cannot write '{}'", self.path.display()))
    }
}

/// The bytes of the lines of the first `steps` steps. A last line that was cut off by a kill is not one.
fn length(path: &Path, steps: u64) -> std::io::Result<u64> {
    let mut reader = BufReader::new(File::open(path)?);
    let (mut length, mut line) = (0, Vec::new());
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        let step = serde_json::from_slice::<Value>(&line).ok().and_then(|line| line.get("step")?.as_u64());
        if read == 0 || !line.ends_with(b"\n") || step.is_none_or(|step| step > steps) {
            return Ok(length);
        }
        length += read as u64;
    }
}
