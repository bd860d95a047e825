//! `checkpoint-N/`: everything that a run needs to go on to the same bits.
//!
//! A checkpoint is built beside its name, synced and renamed; the marker in it is written last. A folder
//! without the marker is not a checkpoint.

use std::fs;
use std::path::{Path, PathBuf};

use ft_dist::Communicator;
use ft_io::AtomicDir;
use ft_model::lora::Adapter;
use ft_model::optimizer::Optimizer;
use ft_text::Form;

use crate::error::{Context, Error, Result};
use crate::json::write_json;
use crate::output::identity::Identity;
use crate::run::trainer_state::{LogWindow, TrainerState, checkpoint_name, step_of};
use crate::run::{Resumed, Snapshot};

const OPTIMIZER: &str = "optimizer.safetensors";
/// What goes into the next log, for which Trainer's state has no key.
const WINDOW: &str = "log_window.json";
const MARKER: &str = "complete";
const PREFIX: &str = "checkpoint-";
/// What else of a run is built beside its name, in its folder.
const OTHERS: [&str; 9] = [
    "adapter",
    "trainer_state.json",
    "train_results.json",
    "eval_results.json",
    "all_results.json",
    "run.json",
    "best_checkpoints.json",
    "loss.svg",
    "loss.png",
];

/// Writes `output/checkpoint-N`, one for all ranks; the others hand over their parts of the optimizer's state.
///
/// # Errors
/// If it cannot be written.
pub fn save(
    output: &Path,
    snapshot: &Snapshot<'_>,
    (identity, form): (&Identity, &Form),
    ranks: &dyn Communicator,
) -> Result<PathBuf> {
    let Snapshot { adapter, optimizer, state, window } = *snapshot;
    let path = output.join(checkpoint_name(state.global_step));
    let dir = AtomicDir::create(&path)?;
    let in_it = || format!("cannot write '{}'", path.display());
    adapter.save(dir.path(), form.pairs()).with_context(in_it)?;
    form.write_templates(dir.path()).with_context(in_it)?;
    optimizer.save(Some(&dir.path().join(OPTIMIZER)), ranks).with_context(in_it)?;
    state.save(dir.path()).with_context(in_it)?;
    write_json(&dir.path().join(WINDOW), &serde_json::to_value(window)?).with_context(in_it)?;
    identity.save(dir.path()).with_context(in_it)?;
    fs::write(dir.path().join(MARKER), format!("{}\n", state.global_step)).with_context(in_it)?;
    dir.commit(true)?;
    Ok(path)
}

/// Reads a whole checkpoint; `optimizer`, a fresh one of this run's adapter, is given what it remembered.
///
/// # Errors
/// If a part is missing or damaged.
pub fn load(path: &Path, optimizer: &mut Optimizer) -> Result<Resumed> {
    require_whole(path)?;
    let adapter = Adapter::load(path)?;
    let state = TrainerState::load(path)?;
    optimizer.load(&path.join(OPTIMIZER))?;
    let window = path.join(WINDOW);
    let text = fs::read(&window).with_context(|| format!("cannot read '{}'", window.display()))?;
    let window: LogWindow =
        serde_json::from_slice(&text).with_context(|| format!("'{}' is damaged", window.display()))?;
    require_one_step(path, &state, optimizer)?;
    require_counted(path, &state, &window)?;
    Ok(Resumed { adapter, state, window, is_own: false })
}

/// Holds the parts of a checkpoint against each other: all of them were written after the same step.
fn require_one_step(path: &Path, state: &TrainerState, optimizer: &Optimizer) -> Result<()> {
    let marker = path.join(MARKER);
    let text = fs::read_to_string(&marker).with_context(|| format!("cannot read '{}'", marker.display()))?;
    let marked: u64 =
        text.trim().parse().map_err(|_| Error::Checkpoint(format!("'{}' names no step", marker.display())))?;
    let left_out = state.loss_scale.as_ref().map_or(0, |scale| scale.skipped);
    let logged = state.log_history.iter().filter_map(step_of).max().unwrap_or(0);
    let parts = [
        (MARKER, marked, state.global_step),
        (OPTIMIZER, optimizer.step(), state.global_step.saturating_sub(left_out)),
        ("the last entry of log_history", logged, logged.min(state.global_step)),
    ];
    match parts.iter().find(|(_, found, expected)| found != expected) {
        Some((part, found, expected)) => Err(Error::Checkpoint(format!(
            "'{}' is no whole checkpoint: its trainer_state.json is of step {}, so {part} should be of step {expected}, \
             and is of step {found}; take another one",
            path.display(),
            state.global_step
        ))),
        None => Ok(()),
    }
}

/// Refuses counts that no run arrives at, before anything is added to them.
fn require_counted(path: &Path, state: &TrainerState, window: &LogWindow) -> Result<()> {
    let labels = window.labels as u64;
    let fits = window.steps <= state.global_step
        && window.correct <= window.labels
        && labels <= state.num_input_tokens_seen
        && state.num_input_tokens_seen < 1 << 53;
    if !fits {
        return Err(Error::Checkpoint(format!(
            "'{}' is damaged: its {WINDOW} counts {} steps and {labels} labels, its trainer_state.json {} steps and {} \
             tokens; take another one",
            path.display(),
            window.steps,
            state.global_step,
            state.num_input_tokens_seen
        )));
    }
    Ok(())
}

/// The checkpoint that `resume_from_checkpoint` names, where it is given; the empty path is the newest one.
///
/// # Errors
/// If there is no whole checkpoint.
pub fn to_resume(asked: Option<&Path>, output: Option<&Path>) -> Result<Option<PathBuf>> {
    let Some(path) = asked else { return Ok(None) };
    let path = match (output, path.as_os_str().is_empty()) {
        (Some(output), true) => newest(output)?,
        (None, true) => {
            return Err(Error::Checkpoint("--resume-from-checkpoint needs a folder where the output is a pipe".into()));
        }
        (_, false) => path.to_path_buf(),
    };
    require_whole(&path)?;
    Ok(Some(path))
}

/// Removes the checkpoints after `step`, from which the run goes on with another number of steps and so, with another
/// schedule: a later resume would take them for this run's.
///
/// # Errors
/// If one cannot be removed.
pub fn supersede(output: &Path, step: u64) -> Result<()> {
    for (_, path) in all(output)?.into_iter().filter(|(other, _)| *other > step) {
        tracing::info!("removed '{}': its steps are taken anew", path.display());
        remove(&path)?;
    }
    Ok(())
}

/// Refuses a folder that is no whole checkpoint.
///
/// # Errors
/// If it lacks the marker.
pub fn require_whole(path: &Path) -> Result<()> {
    if !path.join(MARKER).exists() {
        return Err(Error::Checkpoint(format!(
            "'{}' is no whole checkpoint: it has no file '{MARKER}'; take an older one",
            path.display()
        )));
    }
    Ok(())
}

/// The whole checkpoints of an output folder and their steps, the oldest first.
///
/// # Errors
/// If the folder cannot be read.
pub fn all(output: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let entries = fs::read_dir(output).with_context(|| format!("cannot read '{}'", output.display()))?;
    let step = |path: &Path| path.file_name()?.to_str()?.strip_prefix(PREFIX)?.parse::<u64>().ok();
    let whole = entries.filter_map(Result::ok).map(|e| e.path()).filter(|p| p.join(MARKER).exists());
    let mut found: Vec<(u64, PathBuf)> = whole.filter_map(|p| Some((step(&p)?, p))).collect();
    found.sort();
    Ok(found)
}

/// The newest whole checkpoint of an output folder.
///
/// # Errors
/// If there is none.
pub fn newest(output: &Path) -> Result<PathBuf> {
    let newest = all(output)?.pop().map(|(_, path)| path);
    newest.ok_or_else(|| Error::Checkpoint(format!("'{}' holds no whole checkpoint to go on from", output.display())))
}

/// Removes checkpoints, the oldest first, until `limit` are left; never the newest one, and none of `protected`. As
/// transformers' `rotate_checkpoints`.
///
/// # Errors
/// If one cannot be removed.
pub fn rotate(output: &Path, limit: usize, protected: &[u64]) -> Result<()> {
    let all = all(output)?;
    let Some((newest, _)) = all.last() else { return Ok(()) };
    let is_protected = |step: u64| step == *newest || protected.contains(&step);
    let keep = limit.max(all.iter().filter(|(step, _)| is_protected(*step)).count());
    let superfluous = all.iter().filter(|(step, _)| !is_protected(*step));
    for (_, path) in superfluous.take(all.len().saturating_sub(keep)) {
        remove(path)?;
        tracing::debug!("removed '{}'", path.display());
    }
    Ok(())
}

/// Removes a checkpoint; killed in between, what is left does not bear its name.
///
/// # Errors
/// If it cannot be removed.
pub fn remove(path: &Path) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let away = path.with_file_name(format!(".{name}.tmp-removed"));
    let removed = fs::rename(path, &away).and_then(|()| fs::remove_dir_all(&away));
    removed.with_context(|| format!("cannot remove '{}'", path.display()))
}

/// Tidies up after a run that was killed: what was being built goes, and a checkpoint that was moved out of the way of
/// its successor comes back, where that one never came.
///
/// # Errors
/// If something cannot be removed or moved.
pub fn recover(output: &Path) -> Result<()> {
    let entries = fs::read_dir(output).with_context(|| format!("cannot read '{}'", output.display()))?;
    for path in entries.filter_map(Result::ok).map(|e| e.path()) {
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some((target, _)) = file_name.strip_prefix('.').and_then(|name| name.split_once(".tmp-")) else { continue };
        if !target.starts_with(PREFIX) && !OTHERS.contains(&target) {
            continue;
        }
        let (moved, target) = (path.join("old"), output.join(target));
        let in_the_way = || format!("cannot tidy up '{}'", path.display());
        if moved.join(MARKER).exists() && !target.exists() {
            fs::rename(&moved, &target).with_context(in_the_way)?;
            tracing::info!("brought back '{}'", target.display());
        }
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.with_context(in_the_way)?;
        tracing::debug!("removed what was being written: '{}'", path.display());
    }
    Ok(())
}
