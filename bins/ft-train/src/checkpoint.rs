//! `checkpoint-N/`: everything that a run needs to go on to the same bits.
//!
//! A checkpoint is built beside its name, synced and renamed; the marker in it is written last. A folder
//! without the marker is not a checkpoint.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ft_cli::AtomicDir;
use ft_model::lora::Adapter;
use ft_model::optimizer::Optimizer;

use crate::history::{State, Window, write_json};

const OPTIMIZER: &str = "optimizer.safetensors";
/// What goes into the next log, for which Trainer's state has no key.
const WINDOW: &str = "log_window.json";
const MARKER: &str = "complete";
const PREFIX: &str = "checkpoint-";

/// Writes `output/checkpoint-N`.
pub fn save(
    output: &Path,
    adapter: &Adapter,
    optimizer: &Optimizer,
    state: &State,
    window: &Window,
) -> Result<PathBuf> {
    let path = output.join(format!("{PREFIX}{}", state.global_step));
    let dir = AtomicDir::create(&path)?;
    adapter.save(dir.path(), &BTreeMap::new())?;
    optimizer.save(&dir.path().join(OPTIMIZER))?;
    state.save(dir.path())?;
    write_json(&dir.path().join(WINDOW), &serde_json::to_value(window)?)?;
    let marker = dir.path().join(MARKER);
    std::fs::write(&marker, format!("{}\n", state.global_step))
        .with_context(|| format!("cannot write '{}'", marker.display()))?;
    dir.commit(true)?;
    Ok(path)
}

/// Where a run was.
pub struct Saved {
    pub adapter: Adapter,
    pub optimizer: Optimizer,
    pub state: State,
    pub window: Window,
}

/// Reads a whole checkpoint; `optimizer` is a fresh one of this run's adapter.
pub fn load(path: &Path, mut optimizer: Optimizer) -> Result<Saved> {
    if !path.join(MARKER).exists() {
        bail!("'{}' is no whole checkpoint: it has no file '{MARKER}'; take an older one", path.display());
    }
    let adapter = Adapter::load(path)?;
    let state = State::load(path)?;
    optimizer.load(&path.join(OPTIMIZER))?;
    let window = path.join(WINDOW);
    let text = std::fs::read(&window).with_context(|| format!("cannot read '{}'", window.display()))?;
    let window = serde_json::from_slice(&text).with_context(|| format!("'{}' is damaged", window.display()))?;
    Ok(Saved { adapter, optimizer, state, window })
}

/// The whole checkpoints of an output folder, the oldest first.
pub fn all(output: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(output).with_context(|| format!("cannot read '{}'", output.display()))?;
    let step = |path: &Path| path.file_name()?.to_str()?.strip_prefix(PREFIX)?.parse::<u64>().ok();
    let whole = entries.filter_map(Result::ok).map(|e| e.path()).filter(|p| p.join(MARKER).exists());
    let mut found: Vec<(u64, PathBuf)> = whole.filter_map(|p| Some((step(&p)?, p))).collect();
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// The newest whole checkpoint of an output folder.
pub fn newest(output: &Path) -> Result<PathBuf> {
    let newest = all(output)?.pop();
    newest.with_context(|| format!("'{}' holds no whole checkpoint to go on from", output.display()))
}
