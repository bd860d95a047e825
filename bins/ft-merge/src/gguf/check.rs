//! Whether the file is what was meant, as any reader would find it.

use anyhow::{Context, Result, bail};
use ft_io::AtomicFile;
use ft_model::Checkpoint;
use ft_text::{Error, PROBE, TextModel};

use super::job::Job;

/// Opens what was written, compares the tensors' types with the plan, and what the tokenizer makes of a text with what
/// the model's own makes of it.
pub fn check(job: &Job<'_>, file: &AtomicFile) -> Result<()> {
    let Some(path) = file.temporary() else { return Ok(()) };
    let told = || format!("reading back what was written for '{}'", job.args.model.display());
    let written = Checkpoint::open(path).with_context(told)?;
    for tensor in &job.model.tensors {
        for part in &tensor.parts {
            let found = written.stored_dtype(&part.from)?;
            if found != tensor.format {
                bail!("{}: '{}' is {found}, expected {}", told(), part.from, tensor.format);
            }
        }
    }
    let encode = |model: &TextModel| model.tokenizer.encode(PROBE, false).map(|ids| ids.get_ids().to_vec()).ok();
    let own = match TextModel::open(&job.args.model) {
        Err(Error::NoTokenizer { .. }) => return Ok(()),
        own => own?,
    };
    match TextModel::open(path) {
        Ok(read) if encode(&read) != encode(&own) => tracing::warn!(
            "a reader of the file cuts a text of many scripts into other tokens than the model's own tokenizer does{}",
            if job.args.pre.is_some() { "; is the name given with --pre the right one?" } else { "" }
        ),
        // A name that this program has no rules for.
        Ok(_) | Err(Error::UnsupportedTokenizer { .. }) => {}
        Err(error) => return Err(error).with_context(told),
    }
    Ok(())
}
