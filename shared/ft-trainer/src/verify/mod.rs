//! A run taken once more, from its beginning or from one of its checkpoints, and held against what it left behind, bit
//! by bit.

mod comparison;
mod kept;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ft_dist::Solo;
use ft_io::progress::Progress;
use ft_model::lora::Adapter;

use crate::engine::setup::Setup;
use crate::error::{Context, Error, Result};
use crate::options::{Configuration, Options};
use crate::output::checkpoint_folder::CheckpointFolder;
use crate::output::run_record::RunRecord;
use crate::output::watch::Watchers;
use crate::run::Examiner;
use crate::run::trainer::{Outlets, Trainer};
use comparison::{Comparison, require_equal};
pub use kept::Kept;

/// What came out equal, bit by bit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Equal {
    /// Entries of the log: losses, gradient norms, evaluations.
    pub logs: usize,
    /// Checkpoints' adapters.
    pub checkpoints: usize,
    /// The SHA-256 of the final adapter, where the repetition went to the end.
    pub adapter: Option<String>,
}

/// Takes the steps after `steps.start` up to `steps.end` once more, in one process. `options` are the kept run's with one
/// rank that takes the micro-batches of all, an output folder of their own, which is made here, and the checkpoint of
/// `steps.start` to go on from; `examiner` asks what the kept run was asked.
///
/// # Errors
/// Where the repetition first comes out otherwise; if the inputs are not the kept run's; if nothing is kept of these
/// steps.
pub fn repeat(
    kept: &Kept,
    (options, configuration): (&Options, Configuration),
    steps: Range<u64>,
    progress: Arc<dyn Progress>,
    started: Instant,
    examiner: Option<Box<dyn Examiner>>,
) -> Result<Equal> {
    let output = Path::new(&options.output_dir);
    let folder = || format!("cannot make the folder '{}'", output.display());
    std::fs::create_dir(output).with_context(folder)?;
    let setup = Setup::new(options, Arc::new(Solo), progress)?;
    let record = RunRecord::new(options, configuration.clone(), &setup, true)?;
    let of = format!("the run in '{}'", kept.dir.display());
    record.identity(kept.identity.max_steps)?.require_same(&kept.identity, &of)?;
    let watchers = Watchers::new(options, Some(output), configuration);
    let mut checkpoints = CheckpointFolder::new(options, Some(output.into()), record);
    let mut trainer = Trainer::new(options, setup, &mut checkpoints, started)?;
    trainer.examiner = examiner;
    trainer.announce();
    trainer.until = steps.end;
    let mut observer = (watchers, Comparison { kept, from: steps.start, logs: 0, checkpoints: 0 });
    let mut to = Outlets { observer: &mut observer, checkpoints: &mut checkpoints };
    trainer.take_steps(&mut to)?;
    let mut adapter = None;
    if steps.end == kept.steps {
        let outcome = trainer.finish(&mut to)?;
        adapter = Some(final_adapter(kept, &outcome.setup.plain_adapter()?)?);
    }
    let Comparison { logs, checkpoints, .. } = observer.1;
    if logs + checkpoints == 0 && adapter.is_none() {
        let (dir, first) = (kept.dir.display(), steps.start + 1);
        let told = format!("'{dir}' keeps nothing of steps {first} to {} to compare with", steps.end);
        return Err(Error::Checkpoint(told));
    }
    Ok(Equal { logs, checkpoints, adapter })
}

/// The digest of the final adapter, which is the kept one.
fn final_adapter(kept: &Kept, adapter: &Adapter) -> Result<String> {
    require_equal(&Adapter::load(&kept.dir)?, adapter, "the final adapter")?;
    Ok(adapter.sha256()?)
}
