//! An adapter that goes to a pipe.

use std::sync::Arc;

use ft_dist::Communicator;
use ft_model::lora::Adapter;

use crate::error::{Error, Result};
use crate::run::Observer;

/// Ends a run whose adapter would go to a pipe that nobody reads any more; all ranks ask together.
pub struct PipeReader(Option<Arc<dyn Communicator>>);

impl PipeReader {
    /// Looks at standard output after each step where the adapter goes there, and else at nothing.
    pub fn new(to_pipe: bool, ranks: &Arc<dyn Communicator>) -> Self {
        Self(to_pipe.then(|| Arc::clone(ranks)))
    }
}

impl Observer for PipeReader {
    fn stepped(&mut self, step: u64, _: &Adapter) -> Result<()> {
        let Some(ranks) = &self.0 else { return Ok(()) };
        if ft_dist::any(&**ranks, ranks.rank() == 0 && ft_io::output::reader_is_gone())? {
            return Err(Error::Output(format!(
                "standard output has no reader any more, so the adapter of step {step} would be lost; give --output-dir a \
                 folder"
            )));
        }
        Ok(())
    }
}
