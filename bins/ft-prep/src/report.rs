//! What was done, for people and machines.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use ft_io::Target;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::counts::Counts;

/// One input as it was read.
#[derive(Clone, Debug, Serialize)]
pub struct InputReport {
    /// File name, or `-`.
    pub name: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Its format.
    pub format: &'static str,
    /// Its shape.
    pub shape: &'static str,
    /// Rows read from it.
    pub rows: u64,
    /// Rows of it in a mix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written: Option<u64>,
}

/// The report of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `ft-prep`.
    pub tool: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The inputs in their order.
    pub inputs: Vec<InputReport>,
    /// Rows read.
    pub rows_read: u64,
    /// Rows kept.
    pub rows_kept: u64,
    /// Rows dropped.
    pub rows_dropped: u64,
    /// Rows dropped by reason.
    pub dropped: Map<String, Value>,
    /// The seed of the split, where there is one.
    pub seed: Option<u64>,
    /// Held-out rows that are in the training side, or nearly, where that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaks: Option<u64>,
    /// Rows written to each side, or to `all`.
    pub written: Map<String, Value>,
}

impl Report {
    /// A report of these inputs.
    pub fn new(inputs: Vec<InputReport>, counts: &Counts) -> Self {
        Self {
            tool: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            inputs,
            rows_read: counts.read,
            rows_kept: counts.kept,
            rows_dropped: counts.dropped(),
            dropped: counts.to_json(),
            seed: None,
            leaks: None,
            written: Map::new(),
        }
    }

    /// Writes it as indented JSON.
    pub fn write(&self, target: &Target) -> anyhow::Result<()> {
        let folder = target.path().and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty());
        let cannot_write = || format!("cannot write '{target}'");
        folder.map_or(Ok(()), fs::create_dir_all).with_context(cannot_write)?;
        let mut file = target.create()?;
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        file.write_all(text.as_bytes()).with_context(cannot_write)?;
        Ok(file.commit()?)
    }
}
