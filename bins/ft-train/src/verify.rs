//! `--verify`: a run is taken once more, from its beginning or from one of its checkpoints, and held against what it
//! left behind, bit by bit.

use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use ft_cli::Usage;
use ft_dist::Solo;
use ft_kernels::tensor::with_slice;
use ft_model::lora::Adapter;
use serde_json::{Map, Value};

use ft_trainer::engine::setup::Setup;
use ft_trainer::json::{Entry, write_json};
use ft_trainer::output::checkpoint;
use ft_trainer::output::checkpoint_folder::CheckpointFolder;
use ft_trainer::output::identity::Identity;
use ft_trainer::output::run_record::{self, RunRecord};
use ft_trainer::output::watch::Watchers;
use ft_trainer::run::Observer;
use ft_trainer::run::trainer::{Outlets, Trainer};
use ft_trainer::run::trainer_state::{TrainerState, checkpoint_name, is_evaluation, step_of};

use crate::config::Cli;
use crate::examine;

/// Arguments that may be given anew.
const ANEW: [&str; 9] =
    ["model", "train", "eval", "eval_generate", "threads", "activation_memory", "gradient_checkpointing", "log_level", "disable_tqdm"];

/// Repeats the run in `dir`.
///
/// # Errors
/// Where it first comes out otherwise; or why it cannot be repeated.
pub fn verify(cli: &Cli, dir: &Path) -> Result<()> {
    let kept = Kept::read(dir)?;
    let steps = cli.args.prove.verify_steps.unwrap_or((0, kept.steps));
    kept.require(steps)?;
    let scratch = tempfile::tempdir().context("cannot make a folder for the repetition")?;
    let again = configure(cli, &kept, steps.0, scratch.path())?;
    let output = again.args.output_dir.clone();
    std::fs::create_dir(&output).with_context(|| format!("cannot make the folder '{}'", output.display()))?;
    let (options, configuration) = (again.args.options()?, again.configuration());
    let setup = Setup::new(&options, Arc::new(Solo), Arc::new(ft_cli::Bars))?;
    let record = RunRecord::new(&options, configuration.clone(), &setup, true)?;
    record
        .identity(kept.identity.max_steps)?
        .require_same(&kept.identity, &format!("the run in '{}'", dir.display()))?;
    let watchers = Watchers::new(&options, Some(&output), configuration);
    let mut checkpoints = CheckpointFolder::new(&options, Some(output), record);
    let mut trainer = Trainer::new(&options, setup, &mut checkpoints, cli.started)?;
    trainer.examiner = examine::examiner(&options)?;
    trainer.announce();
    trainer.until = steps.1;
    let comparison = Comparison { kept: &kept, from: steps.0, logs: 0, checkpoints: 0 };
    let mut observer = (watchers, comparison);
    let mut to = Outlets { observer: &mut observer, checkpoints: &mut checkpoints };
    trainer.take_steps(&mut to)?;
    let mut whole = String::new();
    if steps.1 == kept.steps {
        let outcome = trainer.finish(&mut to)?;
        whole = kept.require_final(&outcome.setup.plain_adapter()?)?;
    }
    let comparison = observer.1;
    let Comparison { logs, checkpoints, .. } = comparison;
    if logs + checkpoints == 0 && whole.is_empty() {
        bail!("'{}' keeps nothing of steps {} to {} to compare with", dir.display(), steps.0 + 1, steps.1);
    }
    let told =
        format!("equal: steps {} to {}, {logs} log entries, {checkpoints} checkpoints{whole}\n", steps.0 + 1, steps.1);
    let mut stdout = ft_io::output::listing();
    stdout.write_all(told.as_bytes()).and_then(|()| stdout.flush()).context("cannot write to stdout")
}

/// What a run left behind.
struct Kept {
    dir: PathBuf,
    configuration: Map<String, Value>,
    identity: Identity,
    log: Vec<Entry>,
    /// The last step.
    steps: u64,
    /// The last resume that changed the number of steps.
    laid_out_anew: Option<u64>,
}

impl Kept {
    fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(run_record::FILE);
        let text = std::fs::read(&path).with_context(|| format!("cannot read '{}'", path.display()))?;
        let damaged = || format!("'{}' is no record of a run that can be repeated", path.display());
        let record: Value = serde_json::from_slice(&text).with_context(damaged)?;
        if record["status"] != "finished" {
            bail!("the run in '{}' has not ended; go on with --resume-from-checkpoint", dir.display());
        }
        let identity = Identity::of_record(&record).with_context(damaged)?;
        let state = TrainerState::load(dir)?;
        let other = identity.resumed.iter().filter(|resume| resume.max_steps_before != identity.max_steps);
        Ok(Self {
            dir: dir.to_path_buf(),
            configuration: identity.configuration.clone(),
            laid_out_anew: other.map(|resume| resume.after_step).max(),
            identity,
            steps: state.global_step,
            log: state.log_history,
        })
    }

    /// Whether these steps can be repeated.
    fn require(&self, (from, to): (u64, u64)) -> Result<()> {
        let dir = self.dir.display();
        if to > self.steps {
            bail!(Usage(format!("--verify-steps {from}..{to}: the run in '{dir}' has {} steps", self.steps)));
        }
        match self.laid_out_anew.filter(|&step| from < step) {
            Some(step) => bail!(
                "the run in '{dir}' was laid out for another number of steps until step {step}; repeat the rest: \
                 --verify-steps {step}..{}",
                self.steps
            ),
            None => Ok(()),
        }
    }

    fn require_final(&self, adapter: &Adapter) -> Result<String> {
        require_equal(&Adapter::load(&self.dir)?, adapter, "the final adapter")?;
        Ok(format!(", the final adapter {}", adapter.sha256()?))
    }
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
    Cli::read(&words).map_err(|error| anyhow::anyhow!("{error}"))
}

/// Holds a repetition against what was kept, as it goes.
struct Comparison<'a> {
    kept: &'a Kept,
    from: u64,
    logs: usize,
    checkpoints: usize,
}

impl Observer for Comparison<'_> {
    fn logged(&mut self, _: u64, entry: &Entry) -> Result<()> {
        let (Some(step), true) = (step_of(entry), entry.contains_key("loss") || is_evaluation(entry)) else {
            return Ok(());
        };
        let same_kind = |other: &&Entry| step_of(other) == Some(step) && is_evaluation(other) == is_evaluation(entry);
        let Some(kept) = self.kept.log.iter().filter(|e| e.contains_key("loss") || is_evaluation(e)).find(same_kind)
        else {
            return Ok(());
        };
        let clock = |key: &str| key.ends_with("runtime") || key.ends_with("per_second");
        for (key, was) in kept.iter().filter(|(key, _)| !clock(key)) {
            require_value(step, key, was, entry.get(key).unwrap_or(&Value::Null))?;
        }
        self.logs += usize::from(step > self.from);
        Ok(())
    }

    fn stepped(&mut self, step: u64, adapter: &Adapter) -> Result<()> {
        let path = self.kept.dir.join(checkpoint_name(step));
        if checkpoint::require_whole(&path).is_err() {
            return Ok(());
        }
        require_equal(&Adapter::load(&path)?, adapter, &format!("step {step}"))?;
        self.checkpoints += 1;
        Ok(())
    }
}

fn require_value(step: u64, key: &str, was: &Value, is: &Value) -> Result<()> {
    // Compared as numbers: 1 and 1.0 are the same.
    let same = match (was.as_f64(), is.as_f64()) {
        (Some(was), Some(is)) => was.to_bits() == is.to_bits(),
        _ => was == is,
    };
    if same { Ok(()) } else { differ(&format!("step {step}"), key, was, is) }
}

fn require_equal(was: &Adapter, is: &Adapter, place: &str) -> Result<()> {
    for (was, is) in was.trainable().zip(is.trainable()) {
        let (name, shape) = (was.name(), was.tensor.dims());
        if (name.as_str(), shape) != (is.name().as_str(), is.tensor.dims()) {
            let told = |name: &str, shape: &[usize]| format!("'{name}' of shape {shape:?}");
            return differ(place, "the tensor", &told(&name, shape), &told(&is.name(), is.tensor.dims()));
        }
        let bits = |values: &[f32]| values.to_vec();
        let (was, is) = (with_slice(was.tensor, bits)?, with_slice(is.tensor, bits)?);
        if let Some(at) = was.iter().zip(&is).position(|(a, b)| a.to_bits() != b.to_bits()) {
            return differ(place, &format!("the tensor '{name}', element {:?}", element(at, shape)), &was[at], &is[at]);
        }
    }
    Ok(())
}

/// The indices of the element with the number `at`, row-major.
fn element(mut at: usize, shape: &[usize]) -> Vec<usize> {
    let mut indices: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&size| {
            let index = at % size;
            at /= size;
            index
        })
        .collect();
    indices.reverse();
    indices
}

fn differ(place: &str, what: &str, was: &dyn Display, is: &dyn Display) -> Result<()> {
    bail!("the repetition differs first at {place}: {what} was {was} and is {is}")
}
