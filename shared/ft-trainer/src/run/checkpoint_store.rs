//! Where a run's checkpoints are kept.

use std::path::Path;

use ft_dist::Communicator;
use ft_model::lora::Adapter;
use ft_model::optimizer::Optimizer;

use crate::error::Result;
use crate::run::best::BestTracker;
use crate::run::trainer_state::{LogWindow, TrainerState};

/// All that a run needs to go on to the same bits.
pub struct Snapshot<'a> {
    pub adapter: &'a Adapter,
    pub optimizer: &'a Optimizer,
    pub state: &'a TrainerState,
    pub window: &'a LogWindow,
}

/// A snapshot that was read back.
pub struct Resumed {
    pub adapter: Adapter,
    pub state: TrainerState,
    pub window: LogWindow,
    /// Whether it is one of this store's own checkpoints, which need not be written again.
    pub is_own: bool,
}

/// Keeps checkpoints, one for all ranks. All ranks call each function together, unless it says otherwise.
pub trait CheckpointStore {
    /// What the run goes on from, where it goes on from something; `optimizer`, a fresh one of the run's adapter, is given
    /// what it remembered. `max_steps` are the steps that the schedule is laid out for.
    ///
    /// # Errors
    /// If there is no such checkpoint, or it is of another run.
    fn resume(
        &mut self,
        optimizer: &mut Optimizer,
        max_steps: u64,
        ranks: &dyn Communicator,
    ) -> Result<Option<Resumed>>;

    /// Where the optimizer's pages go; none where temporary files are.
    fn folder(&self) -> Option<&Path>;

    /// Whether there is a checkpoint after step `step`. Each rank may ask alone.
    fn holds(&self, step: u64) -> bool;

    /// Writes a checkpoint; the ranks hand over their parts of the optimizer's state.
    ///
    /// # Errors
    /// If it cannot be written.
    fn save(&mut self, snapshot: &Snapshot<'_>, ranks: &dyn Communicator) -> Result<()>;

    /// Removes checkpoints, the oldest first, until `limit` are left; never the newest one, and none of `protected`. The
    /// first rank calls it alone.
    ///
    /// # Errors
    /// If one cannot be removed.
    fn rotate(&mut self, limit: usize, protected: &[u64]) -> Result<()>;

    /// Writes the index of the best checkpoints. The first rank calls it alone.
    ///
    /// # Errors
    /// If it cannot be written.
    fn rank_best(&mut self, best: &BestTracker, state: &TrainerState) -> Result<()>;

    /// The adapter of the checkpoint after step `step`; none where there is none. Each rank may ask alone.
    ///
    /// # Errors
    /// If it cannot be read.
    fn adapter(&self, step: u64) -> Result<Option<Adapter>>;
}

/// Keeps none.
impl CheckpointStore for () {
    fn resume(&mut self, _: &mut Optimizer, _: u64, _: &dyn Communicator) -> Result<Option<Resumed>> {
        Ok(None)
    }

    fn folder(&self) -> Option<&Path> {
        None
    }

    fn holds(&self, _: u64) -> bool {
        false
    }

    fn save(&mut self, _: &Snapshot<'_>, _: &dyn Communicator) -> Result<()> {
        Ok(())
    }

    fn rotate(&mut self, _: usize, _: &[u64]) -> Result<()> {
        Ok(())
    }

    fn rank_best(&mut self, _: &BestTracker, _: &TrainerState) -> Result<()> {
        Ok(())
    }

    fn adapter(&self, _: u64) -> Result<Option<Adapter>> {
        Ok(None)
    }
}
