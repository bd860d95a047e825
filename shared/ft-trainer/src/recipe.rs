//! A run from its options to its output: set up, load, train, save.

use std::sync::Arc;
use std::time::Instant;

use ft_dist::Communicator;
use ft_io::progress::Progress;

use crate::engine::agreement;
use crate::engine::setup::Setup;
use crate::error::Result;
use crate::json::Entry;
use crate::options::{Configuration, Options};
use crate::output::checkpoint_folder::CheckpointFolder;
use crate::output::folder;
use crate::output::pipe::PipeReader;
use crate::output::run_record::RunRecord;
use crate::output::watch::Watchers;
use crate::run::Examiner;
use crate::run::trainer::{Outcome, Outlets, Trainer};

/// What one rank does to train, as all the others do; the first one alone writes. `started` is when the program began.
///
/// `examiner` asks the model questions at each evaluation.
///
/// Where the output is a pipe nothing is written: the first rank's caller does that, with [`folder::adapter_bytes`].
///
/// # Errors
/// What is wrong with the options, the model or the rows, what ended the run, and what cannot be written.
pub fn train(
    options: &Options,
    configuration: &Configuration,
    ranks: &Arc<dyn Communicator>,
    progress: Arc<dyn Progress>,
    started: Instant,
    examiner: Option<Box<dyn Examiner>>,
) -> Result<Outcome> {
    agreement::on_arguments(configuration, &**ranks)?;
    let locked = folder::prepare(options, &**ranks)?;
    let output = locked.as_ref().map(|folder| folder.path.as_path());
    let setup = Setup::new(options, Arc::clone(ranks), progress)?;
    agreement::on_inputs(&setup)?;
    let own_output = output.filter(|_| ranks.rank() == 0);
    if let Some(folder) = own_output {
        folder::clear(options, folder)?;
    }
    let record = RunRecord::new(options, configuration.clone(), &setup, own_output.is_some())?;
    let mut checkpoints = CheckpointFolder::new(options, output.map(Into::into), record);
    let watchers = Watchers::new(options, own_output, configuration.clone());
    let mut observer = (watchers, PipeReader::new(output.is_none(), ranks));
    let mut trainer = Trainer::new(options, setup, &mut checkpoints, started)?;
    trainer.examiner = examiner;
    checkpoints.record.write(own_output, "running", &Entry::new())?;
    trainer.announce();
    let outcome = trainer.run(&mut Outlets { observer: &mut observer, checkpoints: &mut checkpoints })?;
    if let Some(folder) = own_output {
        folder::write(folder, &outcome, &checkpoints.record)?;
    }
    Ok(outcome)
}
