//! Figures for machines, and a table of them for people.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};

use anyhow::{Context, Result};
use ft_cli::typed_arguments;
use ft_io::output::Output;
use ft_io::{Distinct, Source, Target};
use serde_json::{Map, Value, json};

/// Arguments that say where results go or how the work is cut, not what they are.
pub const LEFT_OUT: [&str; 5] = ["-o", "--output", "--report", "--batch-size", "--junit"];

/// One input of the figures: its name without folders, and the SHA-256 of its bytes.
pub struct Input {
    pub name: String,
    pub sha256: String,
}

/// Where the figures go; opened before the work, so that a path that cannot be written is told at once.
pub struct Report {
    output: Option<Output>,
    name: String,
    files: Distinct,
}

impl Report {
    /// Without `--report`, a pipe on standard output gets the figures, unless the rows go there. Neither may take the
    /// place of the other, or of what is read.
    pub fn open(given: Option<&OsString>, rows: Option<&Target>, mut files: Distinct) -> Result<Self> {
        let free = rows != Some(&Target::Stdout) && !std::io::stdout().is_terminal();
        let target = given.map(Target::parse).or(free.then_some(Target::Stdout));
        for (option, target) in [("-o", rows), ("--report", target.as_ref())] {
            target.map_or(Ok(()), |target| files.output(option, target))?;
        }
        let name = target.as_ref().map(Target::name).unwrap_or_default();
        Ok(Self { output: target.map(|target| target.create()).transpose()?, name, files })
    }

    /// Opens another file beside the figures, named by `option`; it may not take the place of any file either.
    pub fn also(&mut self, option: &str, target: &Target) -> Result<Output> {
        self.files.output(option, target)?;
        Ok(target.create()?)
    }

    /// Writes the figures of one input.
    pub fn write_of(self, task: &str, figures: Map<String, Value>, source: &Source, sha256: &str) -> Result<()> {
        self.write(task, figures, &[Input { name: source.file_name(), sha256: sha256.to_owned() }], &[source])
    }

    /// Writes the figures with what they are figures of; of the arguments, `left_out` are the inputs' own.
    pub fn write(self, task: &str, figures: Map<String, Value>, inputs: &[Input], left_out: &[&Source]) -> Result<()> {
        let Some(mut output) = self.output else { return Ok(()) };
        let mut all = Map::new();
        all.insert("task".into(), json!(task));
        all.extend(figures);
        all.insert("tool".into(), json!("ft-eval"));
        all.insert("version".into(), json!(env!("CARGO_PKG_VERSION")));
        all.insert("arguments".into(), json!(typed_arguments(&LEFT_OUT, left_out)));
        let inputs: Vec<Value> = inputs.iter().map(|of| json!({"name": of.name, "sha256": of.sha256})).collect();
        all.insert("inputs".into(), inputs.into());
        let mut text = serde_json::to_vec_pretty(&Value::Object(all))?;
        text.push(b'\n');
        output.write_all(&text).with_context(|| format!("cannot write '{}'", self.name))?;
        Ok(output.commit()?)
    }
}

/// Says the figures of `what` to a person.
pub fn table(what: &str, rows: &[(&str, String)]) {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<String> = rows.iter().map(|(name, value)| format!("\n  {name:width$}  {value}")).collect();
    tracing::info!("{what}{}", lines.concat());
}

/// The most memory that the process had so far, in words.
pub fn peak() -> String {
    ft_kernels::memory::peak_rss_bytes().map_or_else(|| "unknown".into(), |bytes| format!("{} MB", bytes / 1_000_000))
}

/// A figure as JSON; null where it is not a number.
pub fn figure(value: f64) -> Value {
    if value.is_finite() { json!(value) } else { Value::Null }
}

/// The units done in a second.
pub fn rate(count: usize, seconds: f64) -> f64 {
    let rate = count as f64 / seconds.max(1e-9);
    (rate * 100.0).round() / 100.0
}
