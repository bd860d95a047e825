//! Whoever looks on while a run goes.

use ft_model::lora::Adapter;
use ft_model::step::StepResult;

use crate::data::dataset::Dataset;
use crate::error::Result;
use crate::json::Entry;
use crate::run::trainer_state::TrainerState;

/// Sees what a run does, and may end it with an error. What it does not want to see it leaves out.
pub trait Observer {
    /// The first step is next: where the run stands, and the figures of its data.
    ///
    /// # Errors
    /// Ends the run.
    fn started(&mut self, _state: &TrainerState, _data: &Entry) -> Result<()> {
        Ok(())
    }

    /// Step `step`, counted from 1, is next: `rows` gives the places in `data` of the sequences that all ranks will see.
    ///
    /// # Errors
    /// Ends the run.
    fn begins(&mut self, _step: u64, _data: &Dataset, _rows: &dyn Fn() -> Vec<usize>) -> Result<()> {
        Ok(())
    }

    /// An entry was logged after step `step`.
    ///
    /// # Errors
    /// Ends the run.
    fn logged(&mut self, _step: u64, _entry: &Entry) -> Result<()> {
        Ok(())
    }

    /// The loss and the gradients of step `step`, counted from 1, of which the adapter knows nothing yet.
    ///
    /// # Errors
    /// Ends the run.
    fn computed(&mut self, _step: u64, _found: &StepResult) -> Result<()> {
        Ok(())
    }

    /// A step was taken, and all that was due after it.
    ///
    /// # Errors
    /// Ends the run.
    fn stepped(&mut self, _step: u64, _adapter: &Adapter) -> Result<()> {
        Ok(())
    }

    /// The last entry was logged.
    ///
    /// # Errors
    /// Ends the run.
    fn finished(&mut self, _history: &[Entry]) -> Result<()> {
        Ok(())
    }
}

/// Nobody.
impl Observer for () {}

/// Both, the first one first.
impl<A: Observer, B: Observer> Observer for (A, B) {
    fn started(&mut self, state: &TrainerState, data: &Entry) -> Result<()> {
        self.0.started(state, data)?;
        self.1.started(state, data)
    }

    fn begins(&mut self, step: u64, data: &Dataset, rows: &dyn Fn() -> Vec<usize>) -> Result<()> {
        self.0.begins(step, data, rows)?;
        self.1.begins(step, data, rows)
    }

    fn logged(&mut self, step: u64, entry: &Entry) -> Result<()> {
        self.0.logged(step, entry)?;
        self.1.logged(step, entry)
    }

    fn computed(&mut self, step: u64, found: &StepResult) -> Result<()> {
        self.0.computed(step, found)?;
        self.1.computed(step, found)
    }

    fn stepped(&mut self, step: u64, adapter: &Adapter) -> Result<()> {
        self.0.stepped(step, adapter)?;
        self.1.stepped(step, adapter)
    }

    fn finished(&mut self, history: &[Entry]) -> Result<()> {
        self.0.finished(history)?;
        self.1.finished(history)
    }
}
