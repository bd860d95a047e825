//! `--verify`: a run is taken once more, from its beginning or from one of its checkpoints, and held against what it
//! left behind, bit by bit.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use ft_cli::Usage;
use ft_trainer::json::write_json;
use ft_trainer::output::checkpoint;
use ft_trainer::run::trainer_state::checkpoint_name;
use ft_trainer::verify::{Equal, Kept, repeat};
use serde_json::{Map, Value};

use crate::config::Cli;
use crate::examine;

/// Arguments that may be given anew.
const ANEW: [&str; 10] = [
    "model",
    "train",
    "eval",
    "eval_generate",
    "init_adapter",
    "threads",
    "activation_memory",
    "gradient_checkpointing",
    "log_level",
    "disable_tqdm",
];

/// Repeats the run in `dir`.
///
/// # Errors
/// Where it first comes out otherwise; or why it cannot be repeated.
pub fn verify(cli: &Cli, dir: &Path) -> Result<()> {
    let kept = Kept::read(dir)?;
    let (from, to) = cli.args.prove.verify_steps.unwrap_or((0, kept.steps));
    if to > kept.steps {
        let (dir, steps) = (dir.display(), kept.steps);
        bail!(Usage(format!("--verify-steps {from}..{to}: the run in '{dir}' has {steps} steps")));
    }
    kept.require(from)?;
    let scratch = tempfile::tempdir().context("cannot make a folder for the repetition")?;
    let again = configure(cli, &kept, from, scratch.path())?;
    let examiner = examine::examiner(&again.args.options()?)?;
    let run = (&again.args.options()?, again.configuration());
    let Equal { logs, checkpoints, adapter } =
        repeat(&kept, run, from..to, Arc::new(ft_cli::Bars), cli.started, examiner)?;
    let whole = adapter.map_or_else(String::new, |digest| format!(", the final adapter {digest}"));
    let told = format!("equal: steps {} to {to}, {logs} log entries, {checkpoints} checkpoints{whole}\n", from + 1);
    let mut stdout = ft_io::output::listing();
    stdout.write_all(told.as_bytes()).and_then(|()| stdout.flush()).context("cannot write to stdout")
}

/// Inputs that are files, with the argument that gives each.
const FILES: [&str; 5] = ["model", "train", "eval", "eval_generate", "init_adapter"];

/// A record keeps no folder of an absolute path, so that such an input may have to be given anew.
fn require_found(configuration: &Map<String, Value>) -> Result<()> {
    for key in FILES {
        let Some(name) = configuration.get(key).and_then(Value::as_str) else { continue };
        // With a slash it is a relative path or a model's name.
        if !name.is_empty() && !name.contains('/') && !Path::new(name).exists() {
            let flag = key.replace('_', "-");
            bail!(Usage(format!(
                "the run's --{flag} '{name}' is not in this folder, and a record keeps no absolute path: give it with --{flag}"
            )));
        }
    }
    Ok(())
}

/// The kept configuration with what is given anew, written and read as a configuration file is.
fn configure(cli: &Cli, kept: &Kept, from: u64, scratch: &Path) -> Result<Cli> {
    let mut configuration = kept.configuration.clone();
    for key in ANEW {
        if let Some(value) = cli.resolved.get(key).filter(|_| cli.resolved.given(key)) {
            configuration.insert(key.into(), value.clone());
        }
    }
    if configuration.get("train").is_some_and(|train| train == "-") {
        bail!(Usage("the run read its rows from a pipe; give them as a file: --train FILE".into()));
    }
    require_found(&configuration)?;
    // One rank takes the steps of all of them.
    let accumulation = configuration.get("gradient_accumulation_steps").and_then(Value::as_u64).unwrap_or(1);
    configuration.insert("gradient_accumulation_steps".into(), (accumulation * kept.identity.world_size).into());
    for (key, alone) in
        [("nproc_per_node", Value::from(1)), ("sharding", "none".into()), ("ddp_backend", "auto".into())]
    {
        configuration.insert(key.into(), alone);
    }
    let output = scratch.join("run");
    configuration.insert("output_dir".into(), output.to_string_lossy().into());
    let resume = (from > 0).then(|| kept.dir.join(checkpoint_name(from)));
    if let Some(path) = &resume {
        checkpoint::require_whole(path).with_context(|| format!("step {from} cannot be begun from"))?;
    }
    let resume = resume.map_or(Value::Null, |path| path.to_string_lossy().into());
    configuration.insert("resume_from_checkpoint".into(), resume);
    configuration.insert("report_to".into(), "none".into());
    configuration.insert("log_rows".into(), false.into());
    let file = scratch.join("configuration.json");
    write_json(&file, &Value::Object(configuration))?;
    let words = ["ft-train".into(), "--config".into(), file.into_os_string()];
    let mut again = Cli::read(&words).map_err(|error| anyhow::anyhow!("{error}"))?;
    again.args.model = cli.args.common.model(&again.args.model)?;
    Ok(again)
}
