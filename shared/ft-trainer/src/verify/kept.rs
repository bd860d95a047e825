//! What a finished run left behind.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::{Context, Error, Result};
use crate::json::Entry;
use crate::output::identity::Identity;
use crate::output::run_record;
use crate::run::trainer_state::TrainerState;

/// What a finished run left behind.
pub struct Kept {
    /// Its folder.
    pub dir: PathBuf,
    /// Its arguments, as [`run_record`] keeps them.
    pub configuration: Map<String, Value>,
    /// What it was made of.
    pub identity: Identity,
    /// Its last step.
    pub steps: u64,
    pub(super) log: Vec<Entry>,
    /// The last resume that changed the number of steps.
    laid_out_anew: Option<u64>,
}

impl Kept {
    /// Reads a run's record and its trainer's state.
    ///
    /// # Errors
    /// If they are missing or damaged, or the run has not ended.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(run_record::FILE);
        let text = std::fs::read(&path).with_context(|| format!("cannot read '{}'", path.display()))?;
        let damaged = || format!("'{}' is no record of a run that can be repeated", path.display());
        let record: Value = serde_json::from_slice(&text).with_context(damaged)?;
        if record["status"] != "finished" {
            let told = format!("the run in '{}' has not ended; go on with --resume-from-checkpoint", dir.display());
            return Err(Error::Checkpoint(told));
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

    /// Refuses steps that cannot be repeated, since they were planned for another number of steps in all.
    ///
    /// # Errors
    /// Names the steps that can.
    pub fn require(&self, from: u64) -> Result<()> {
        match self.laid_out_anew.filter(|&step| from < step) {
            Some(step) => Err(Error::Checkpoint(format!(
                "the run in '{}' was laid out for another number of steps until step {step}; repeat the rest: \
                 --verify-steps {step}..{}",
                self.dir.display(),
                self.steps
            ))),
            None => Ok(()),
        }
    }
}
