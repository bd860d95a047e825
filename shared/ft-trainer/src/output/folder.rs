//! What a run leaves behind.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use ft_dist::Communicator;
use ft_io::{AtomicDir, Distinct, Source, Target};
use ft_kernels::memory::peak_rss_bytes;
use ft_text::{TOKENIZER_FILES, save_tokenizer};
use serde_json::{Value, json};

use crate::error::{Context, Error, Result};
use crate::json::{Entry, entry, write_json};
use crate::options::Options;
use crate::output::checkpoint;
use crate::output::lock::{Lock, lock};
use crate::output::run_record::{self, RunRecord};
use crate::output::watch::rows;
use crate::run::trainer::Outcome;

const CONFIG: &str = "adapter_config.json";
const ADAPTER: &str = "adapter_model.safetensors";
/// What a run leaves in its folder, beside its checkpoints and its events.
const FILES: [&str; 12] = [
    ADAPTER,
    CONFIG,
    "metrics.jsonl",
    run_record::FILE,
    rows::FILE,
    "trainer_state.json",
    "train_results.json",
    "eval_results.json",
    "all_results.json",
    "best_checkpoints.json",
    "loss.svg",
    "loss.png",
];

/// An output folder that this run has to itself.
pub struct Folder {
    pub path: PathBuf,
    /// The first rank's, which alone writes.
    _lock: Option<Lock>,
}

/// Makes the output folder ready; none where the adapter goes to a pipe. The other ranks wait for the first one.
///
/// # Errors
/// If it cannot be made, another run writes to it, or it holds a run that is neither overwritten nor resumed.
pub fn prepare(options: &Options, ranks: &dyn Communicator) -> Result<Option<Folder>> {
    let folder = if ranks.rank() == 0 {
        prepare_alone(options)?
    } else {
        match Target::parse(&options.output_dir) {
            Target::Path(path) => Some(Folder { path, _lock: None }),
            Target::Stdout => None,
        }
    };
    ranks.barrier()?;
    Ok(folder)
}

fn prepare_alone(options: &Options) -> Result<Option<Folder>> {
    let Target::Path(path) = Target::binary(Some(Target::parse(&options.output_dir)))? else { return Ok(None) };
    std::fs::create_dir_all(&path).with_context(|| format!("cannot make the folder '{}'", path.display()))?;
    let lock = lock(&path)?;
    if !options.overwrite_output_dir && options.resume_from_checkpoint.is_none() && is_used(&path)? {
        return Err(Error::Output(format!(
            "'{}' already holds a run; give another folder, --resume-from-checkpoint to go on, or --overwrite-output-dir",
            path.display()
        )));
    }
    if options.overwrite_output_dir && options.resume_from_checkpoint.is_none() {
        require_inputs_apart(options, &path)?;
    }
    checkpoint::recover(&path)?;
    Ok(Some(Folder { path, _lock: Some(lock) }))
}

/// What the run reads is nothing that [`clear`] removes.
fn require_inputs_apart(options: &Options, dir: &Path) -> Result<()> {
    const OPTION: &str = "--output-dir";
    let mut results = Distinct::new();
    let named = [("--train", Some(&options.train)), ("--eval", options.eval.as_ref())];
    let more = [
        ("--init-adapter", options.init_adapter.as_ref()),
        ("--eval-generate", options.evaluation.eval_generate.as_ref()),
    ];
    for (option, path) in named.into_iter().chain(more) {
        path.into_iter().for_each(|path| results.input(option, &Source::parse(path)));
    }
    for (_, path) in checkpoint::all(dir)? {
        let mut apart = results.clone();
        apart.input("--model", &Source::Path(options.model.clone()));
        apart.output_folder(OPTION, &path)?;
    }
    FILES.iter().try_for_each(|name| results.output(OPTION, &Target::Path(dir.join(name))))?;
    Ok(())
}

fn is_used(dir: &Path) -> Result<bool> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("cannot read '{}'", dir.display()))?;
    let ours = |name: &str| FILES[..4].contains(&name) || name.starts_with("checkpoint-");
    Ok(entries.filter_map(Result::ok).any(|entry| ours(&entry.file_name().to_string_lossy())))
}

/// Removes what a run that is overwritten left: its checkpoints, which a later resume would take for this run's, and
/// its results. Called once model and data are known to be good.
///
/// # Errors
/// If something cannot be removed.
pub fn clear(options: &Options, dir: &Path) -> Result<()> {
    if !options.overwrite_output_dir || options.resume_from_checkpoint.is_some() {
        return Ok(());
    }
    for (_, path) in checkpoint::all(dir)? {
        checkpoint::remove(&path)?;
        tracing::info!("removed '{}' of the run that is overwritten", path.display());
    }
    let tokenizer = TOKENIZER_FILES.iter().filter(|_| !is_same_folder(dir, &options.model));
    let files = FILES.iter().chain(tokenizer).map(|name| dir.join(name)).filter(|path| path.exists());
    for path in files.chain(events(&dir.join("runs"))) {
        std::fs::remove_file(&path).with_context(|| format!("cannot remove '{}'", path.display()))?;
    }
    Ok(())
}

/// The event files of runs into this folder.
fn events(runs: &Path) -> Vec<PathBuf> {
    let inside = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok).map(|e| e.path());
    let ours = |path: &PathBuf| {
        path.to_string_lossy().contains("/events.out.tfevents.") && path.to_string_lossy().contains(".ft-train.")
    };
    inside(runs).flat_map(|run| inside(&run).collect::<Vec<_>>()).filter(ours).collect()
}

/// The adapter as one safetensors file, for a pipe.
///
/// # Errors
/// If the adapter's tensors cannot be read.
pub fn adapter_bytes(outcome: &Outcome) -> Result<Vec<u8>> {
    Ok(outcome.setup.plain_adapter()?.to_bytes(&metadata(outcome))?)
}

/// Writes adapter, state, results and the run's record.
///
/// # Errors
/// If a file cannot be written.
pub fn write(dir: &Path, outcome: &Outcome, record: &RunRecord) -> Result<()> {
    let metadata = metadata(outcome);
    save_adapter(dir, outcome, &metadata, &record.model)?;
    outcome.state.save(dir)?;
    let with_epoch = |results: &Entry| {
        let mut results = results.clone();
        results.insert("epoch".into(), json!(outcome.state.epoch));
        results.remove("step");
        results.sort_keys();
        Value::Object(results)
    };
    let mut all = outcome.results.clone();
    write_json(&dir.join("train_results.json"), &with_epoch(&outcome.results))?;
    if let Some(eval) = &outcome.eval_results {
        write_json(&dir.join("eval_results.json"), &with_epoch(eval))?;
        all.extend(eval.clone());
    }
    write_json(&dir.join("all_results.json"), &with_epoch(&all))?;
    record.write(Some(dir), "finished", &found(outcome)?)?;
    tracing::info!("wrote the adapter to '{}'", dir.display());
    Ok(())
}

/// Writes the adapter's folder beside, reads it back there, and gives its files their names; the weights last, for
/// with them the adapter is there.
fn save_adapter(dir: &Path, outcome: &Outcome, metadata: &BTreeMap<String, String>, model: &Path) -> Result<()> {
    let beside = AtomicDir::create(&dir.join("adapter"))?;
    outcome.setup.plain_adapter()?.save(beside.path(), metadata)?;
    // Where the adapter goes into the model's own folder, its files stay as they are.
    if !is_same_folder(dir, model) {
        save_tokenizer(model, beside.path(), &outcome.setup.train.form)?;
    }
    for name in TOKENIZER_FILES.into_iter().chain([CONFIG, ADAPTER]) {
        let (from, to) = (beside.path().join(name), dir.join(name));
        if !from.is_file() {
            continue;
        }
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("cannot make '{}'", parent.display()))?;
        }
        let moved = File::open(&from).and_then(|file| file.sync_all()).and_then(|()| std::fs::rename(&from, &to));
        moved.with_context(|| format!("cannot write '{}'", to.display()))?;
    }
    Ok(())
}

fn is_same_folder(one: &Path, other: &Path) -> bool {
    let whole = |path: &Path| path.canonicalize().ok();
    whole(one).is_some() && whole(one) == whole(other)
}

/// What stands in the adapter itself: nothing that depends on how the run was cut or where it ran.
fn metadata(outcome: &Outcome) -> BTreeMap<String, String> {
    let mut metadata = BTreeMap::from([
        ("ft.tool".to_owned(), "ft-train".to_owned()),
        ("ft.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("ft.train_sha256".to_owned(), outcome.setup.train.sha256.clone()),
    ]);
    if let Some(tokenizer) = &outcome.setup.tokenizer {
        metadata.insert("ft.tokenizer_sha256".to_owned(), tokenizer.clone());
    }
    metadata.extend(outcome.setup.train.form.pairs().clone());
    metadata
}

/// What came of the run.
fn found(outcome: &Outcome) -> Result<Entry> {
    Ok(entry(json!({
        "final_adapter_sha256": outcome.setup.adapter.sha256()?,
        "steps": outcome.state.global_step,
        "peak_memory_bytes": peak_rss_bytes(),
        "predicted_peak_memory_bytes": outcome.forecast.predicted,
        "seconds_to_first_step": outcome.seconds_to_first_step,
        "memory_per_rank": outcome.memory_per_rank,
    })))
}
