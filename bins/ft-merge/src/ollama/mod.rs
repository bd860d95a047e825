//! A folder for `ollama create`: the GGUF file, and a Modelfile that says how it is asked.

mod modelfile;
mod template;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use ft_io::AtomicDir;
use ft_model::Checkpoint;

use crate::adapters::Adapters;
use crate::args::Args;
use crate::gguf;
use crate::output::check_names;
use crate::prove::FIGURES;
use crate::weights::cannot_write;

pub const MODEL: &str = "model.gguf";
const MODELFILE: &str = "Modelfile";
/// The names that are written.
const NAMES: [&str; 3] = [MODEL, MODELFILE, FIGURES];

/// Writes the folder.
pub fn run(args: &Args, started: Instant) -> Result<()> {
    let replaces = check_names(args, &NAMES, |folder| gguf::is_result(&folder.join(MODEL)))?;
    let base = Checkpoint::open(&args.model)?;
    let adapters = Adapters::load(args, &base)?;
    let output = AtomicDir::create(&args.output)?;
    // What is wrong with the template shows before the long part.
    let text = modelfile::text(Path::new(MODEL), args, base.architecture(), &adapters)?;
    let file = output.path().join(MODELFILE);
    std::fs::write(&file, text).with_context(|| cannot_write(&file))?;
    gguf::write_to(args, &base, &adapters, (&output.path().join(MODEL), &args.output.join(MODEL)), started)?;
    output.commit_over(&|name| replaces && NAMES.iter().any(|known| name == *known))?;
    tracing::info!("'ollama create NAME -f {}' makes the model", args.output.join(MODELFILE).display());
    Ok(())
}
