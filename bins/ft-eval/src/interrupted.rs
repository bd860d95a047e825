//! What a run says that a signal ended.

use anyhow::Error;
use ft_io::Interrupted;

/// The error that ends a run (exit code 130) after `done` of all `of` rows; `kept` is the output that has them.
pub fn interrupted(kept: Option<String>, done: usize, of: usize) -> Error {
    let error = Error::new(Interrupted);
    match kept {
        Some(name) => error.context(format!("interrupted; '{name}' has {done} of {of} rows")),
        None => error,
    }
}
