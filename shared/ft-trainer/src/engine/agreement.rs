//! Ranks that do not train the same thing are found before the first step.

use ft_dist::{Communicator, agree};
use serde_json::Value;

use crate::engine::setup::Setup;
use crate::error::Result;
use crate::options::Configuration;

/// What may differ from machine to machine: where things lie, what is told, and how many threads there are.
const LOCAL: [&str; 10] = [
    "model",
    "train",
    "eval",
    "eval_generate",
    "output_dir",
    "config",
    "threads",
    "log_level",
    "log_format",
    "disable_tqdm",
];

/// Whether all ranks run the same program with the same arguments.
///
/// # Errors
/// Names the first argument and the first rank that differ.
pub fn on_arguments(configuration: &Configuration, ranks: &dyn Communicator) -> Result<()> {
    if ranks.world() == 1 {
        return Ok(());
    }
    agree(ranks, "ft-train's version", env!("CARGO_PKG_VERSION"))?;
    let shared = configuration.values.iter().filter(|(key, _)| !LOCAL.contains(&key.as_str()));
    let shared: Vec<(&String, &Value)> = shared.collect();
    // One exchange where all is well, and one an argument where not.
    let text = serde_json::to_string(&shared)?;
    if agree(ranks, "the arguments", &ft_io::sha256_hex(text.as_bytes())).is_err() {
        for (key, value) in shared {
            agree(ranks, key, &value.to_string())?;
        }
    }
    Ok(())
}

/// Whether all ranks have the same rows, model and initial adapter.
///
/// # Errors
/// Names what differs, and the first rank where it does.
pub fn on_inputs(setup: &Setup) -> Result<()> {
    let ranks = &*setup.ranks;
    if ranks.world() == 1 {
        return Ok(());
    }
    agree(ranks, "the training rows (SHA-256)", &setup.train.sha256)?;
    agree(ranks, "the rows to evaluate on (SHA-256)", setup.eval.as_ref().map_or("none", |eval| &eval.sha256))?;
    agree(ranks, "the model's architecture", &format!("{:?}", setup.arch))?;
    agree(ranks, "the model's files (a digest of parts of them)", &setup.model_sample)?;
    agree(ranks, "the initial adapter (SHA-256)", &setup.adapter.sha256()?)?;
    Ok(())
}
