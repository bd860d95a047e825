//! What a run leaves behind.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ft_cli::{AtomicDir, Provenance, Target, typed_arguments};
use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::checkpoint;
use crate::history::write_json;
use crate::trainer::Outcome;

const CONFIG: &str = "adapter_config.json";
const ADAPTER: &str = "adapter_model.safetensors";

/// Makes the output folder ready; none where the adapter goes to a pipe.
pub fn prepare(args: &Args) -> Result<Option<PathBuf>> {
    let Target::Path(dir) = Target::binary(Some(Target::parse(&args.output_dir)))? else { return Ok(None) };
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make the folder '{}'", dir.display()))?;
    let used = std::fs::read_dir(&dir)?.filter_map(Result::ok).any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.as_ref() == ADAPTER || name.starts_with("checkpoint-") || name.as_ref() == "metrics.jsonl"
    });
    if used && !args.overwrite_output_dir && args.resume_from_checkpoint.is_none() {
        bail!(
            "'{}' already holds a run; give another folder, --resume-from-checkpoint to go on, or --overwrite-output-dir",
            dir.display()
        );
    }
    Ok(Some(dir))
}

/// Removes the checkpoints of a run that is overwritten: a later resume would take them for this run's. Called once
/// model and data are known to be good.
pub fn clear(args: &Args, output: Option<&Path>) -> Result<()> {
    let Some(dir) = output.filter(|_| args.overwrite_output_dir && args.resume_from_checkpoint.is_none()) else {
        return Ok(());
    };
    for path in checkpoint::all(dir)? {
        std::fs::remove_dir_all(&path).with_context(|| format!("cannot remove '{}'", path.display()))?;
        tracing::info!("removed '{}' of the run that is overwritten", path.display());
    }
    Ok(())
}

/// Writes adapter, state, results and the run's record, or the adapter alone to a pipe.
pub fn write(args: &Args, output: Option<&Path>, outcome: &Outcome) -> Result<()> {
    let metadata = metadata(outcome);
    let Some(dir) = output else {
        let bytes = outcome.setup.adapter.to_bytes(&metadata)?;
        let mut stdout = ft_cli::output::stdout();
        stdout.write_all(&bytes).and_then(|()| stdout.flush()).context("cannot write the adapter to stdout")?;
        return Ok(());
    };
    save_adapter(dir, outcome, &metadata)?;
    outcome.state.save(dir)?;
    let with_epoch = |results: &Map<String, Value>| {
        let mut results = results.clone();
        results.insert("epoch".into(), json!(outcome.state.epoch));
        results.sort_keys();
        results
    };
    let mut all = outcome.results.clone();
    write_json(&dir.join("train_results.json"), &Value::Object(with_epoch(&outcome.results)))?;
    if let Some(eval) = &outcome.eval_results {
        write_json(&dir.join("eval_results.json"), &Value::Object(with_epoch(eval)))?;
        all.extend(eval.clone());
    }
    write_json(&dir.join("all_results.json"), &Value::Object(with_epoch(&all)))?;
    write_json(&dir.join("run.json"), &record(args, outcome)?)?;
    tracing::info!("wrote the adapter to '{}'", dir.display());
    Ok(())
}

/// Writes the adapter's folder beside, reads it back there, and gives its files their names; the weights last, for
/// with them the adapter is there.
fn save_adapter(dir: &Path, outcome: &Outcome, metadata: &BTreeMap<String, String>) -> Result<()> {
    let beside = AtomicDir::create(&dir.join("adapter"))?;
    outcome.setup.adapter.save(beside.path(), metadata)?;
    for name in [CONFIG, ADAPTER] {
        let (from, to) = (beside.path().join(name), dir.join(name));
        let moved = File::open(&from).and_then(|file| file.sync_all()).and_then(|()| std::fs::rename(&from, &to));
        moved.with_context(|| format!("cannot write '{}'", to.display()))?;
    }
    Ok(())
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
    metadata
}

/// `run.json`: what the run was.
fn record(args: &Args, outcome: &Outcome) -> Result<Value> {
    let setup = &outcome.setup;
    let input = |name: &str, sha256: &str| json!({"name": name, "sha256": sha256});
    let provenance = Provenance {
        tool: "ft-train".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        arguments: typed_arguments(&["-o", "--output-dir"], &[]),
        ..Provenance::default()
    };
    Ok(json!({
        "tool": provenance.tool,
        "version": provenance.version,
        "arguments": provenance.arguments,
        "train": input(&setup.train.name, &setup.train.sha256),
        "eval": setup.eval.as_ref().map(|e| input(&e.name, &e.sha256)),
        "tokenizer_sha256": setup.tokenizer,
        "initial_adapter_sha256": outcome.initial_adapter,
        "final_adapter_sha256": setup.adapter.sha256()?,
        "seed": args.training.seed,
        "steps": outcome.state.global_step,
        "threads": args.common.thread_count(),
        "instruction_set": ft_kernels::gemm::instruction_set(),
        "peak_memory_bytes": ft_kernels::memory::peak_rss_bytes(),
        "seconds_to_first_step": outcome.seconds_to_first_step,
    }))
}
