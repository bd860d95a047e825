//! The checkpoints of a run in its output folder, and the record of the run that they carry.

use std::path::{Path, PathBuf};

use ft_dist::Communicator;
use ft_model::lora::Adapter;
use ft_model::optimizer::Optimizer;

use crate::error::Result;
use crate::json::write_json;
use crate::options::Options;
use crate::output::checkpoint;
use crate::output::run_record::RunRecord;
use crate::run::best::BestTracker;
use crate::run::trainer_state::{TrainerState, checkpoint_name};
use crate::run::{CheckpointStore, Resumed, Snapshot};

/// Keeps checkpoints in a folder; without one, where the adapter goes to a pipe, it keeps none.
pub struct CheckpointFolder {
    folder: Option<PathBuf>,
    /// The checkpoint to go on from, as [`Options::resume_from_checkpoint`].
    resume_from: Option<PathBuf>,
    pub record: RunRecord,
}

impl CheckpointFolder {
    /// In `folder`, for the run that `record` is of.
    pub fn new(options: &Options, folder: Option<PathBuf>, record: RunRecord) -> Self {
        Self { folder, resume_from: options.resume_from_checkpoint.clone(), record }
    }
}

impl CheckpointStore for CheckpointFolder {
    fn resume(
        &mut self,
        optimizer: &mut Optimizer,
        max_steps: u64,
        ranks: &dyn Communicator,
    ) -> Result<Option<Resumed>> {
        self.record.max_steps = max_steps;
        let Some(path) = checkpoint::to_resume(self.resume_from.as_deref(), self.folder.as_deref())? else {
            return Ok(None);
        };
        ft_dist::agree(ranks, "the checkpoint to go on from", &path.display().to_string())?;
        let found = self.record.require_same(&path)?;
        let mut from = checkpoint::load(&path, optimizer)?;
        let step = from.state.global_step;
        tracing::info!("going on after step {step} from '{}'", path.display());
        let laid_out_anew = found.max_steps != max_steps;
        self.record.resumed(step, found);
        if let Some(folder) = self.folder.as_deref().filter(|folder| path.parent() == Some(folder)) {
            from.is_own = true;
            if laid_out_anew && ranks.rank() == 0 {
                checkpoint::supersede(folder, step)?;
            }
        }
        Ok(Some(from))
    }

    fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    fn holds(&self, step: u64) -> bool {
        self.folder.as_ref().is_some_and(|folder| folder.join(checkpoint_name(step)).is_dir())
    }

    fn save(&mut self, snapshot: &Snapshot<'_>, ranks: &dyn Communicator) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        if ranks.rank() > 0 {
            return Ok(snapshot.optimizer.save(None, ranks)?);
        }
        let identity = self.record.identity(snapshot.state.max_steps)?;
        let path = checkpoint::save(folder, snapshot, (&identity, &self.record.form), ranks)?;
        tracing::info!("wrote '{}'", path.display());
        Ok(())
    }

    fn rotate(&mut self, limit: usize, protected: &[u64]) -> Result<()> {
        self.folder.as_ref().map_or(Ok(()), |folder| checkpoint::rotate(folder, limit, protected))
    }

    fn rank_best(&mut self, best: &BestTracker, state: &TrainerState) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        write_json(&folder.join("best_checkpoints.json"), &best.index(&state.log_history))
    }

    fn adapter(&self, step: u64) -> Result<Option<Adapter>> {
        let Some(folder) = &self.folder else { return Ok(None) };
        let path = folder.join(checkpoint_name(step));
        if checkpoint::require_whole(&path).is_err() {
            tracing::warn!("the best evaluation was after step {step}, of which there is no checkpoint");
            return Ok(None);
        }
        tracing::info!("the adapter is that of '{}', the best one", path.display());
        Ok(Some(Adapter::load(&path)?))
    }
}
