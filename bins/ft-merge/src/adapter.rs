//! Several adapters as one of peft's folders.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use ft_cli::Usage;
use ft_io::AtomicDir;
use ft_model::{Adapter, Checkpoint};

use crate::adapters;
use crate::args::Args;
use crate::output::check_names;
use crate::weights::provenance_of;

/// The names that are written.
const NAMES: [&str; 4] =
    ["adapter_config.json", "adapter_model.safetensors", "chat_template.jinja", "additional_chat_templates"];

/// Writes the folder.
pub fn run(args: &Args, started: Instant) -> Result<()> {
    if args.adapters.is_empty() {
        return Err(Usage("--to adapter needs --adapter, once or more often".into()).into());
    }
    let replaces = check_names(args, &NAMES, is_result)?;
    let base = Checkpoint::open(&args.model)?;
    let (adapter, digests, form) = adapters::one(args, &base)?;
    let output = AtomicDir::create(&args.output)?;
    let metadata: BTreeMap<String, String> = provenance_of(digests, &form).to_pairs().into_iter().collect();
    adapter.save(output.path(), &metadata)?;
    form.write_templates(output.path())?;
    output.commit_over(&|name: &OsStr| replaces && NAMES.iter().any(|known| name == *known))?;
    tracing::info!(
        "wrote an adapter of {} modules and rank {} to '{}' in {:.2} s",
        adapter.modules().len(),
        adapter.config.r,
        args.output.display(),
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Whether an earlier run wrote the folder.
fn is_result(folder: &Path) -> bool {
    Adapter::metadata(folder).is_ok_and(|found| found.get("ft.tool").is_some_and(|tool| tool == env!("CARGO_PKG_NAME")))
}
