//! What a person is told at the end.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::job::Job;
use crate::merge::Change;
use crate::report::tell_change;

/// Says what changed, and what was written.
pub fn tell(job: &Job<'_>, change: &Change, output: &Path, took: Duration) {
    tell_change(job.adapters, job.model.tensors.iter().map(|tensor| tensor.parts.len()).sum(), change, "16 bits");
    let mut types: BTreeMap<String, usize> = BTreeMap::new();
    let mut bytes = 0;
    for tensor in &job.model.tensors {
        *types.entry(tensor.format.to_string()).or_default() += 1;
        bytes += tensor.format.bytes(tensor.shape.iter().product()).unwrap_or(0);
    }
    let types: Vec<String> = types.into_iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    tracing::info!(
        "wrote {:.1} MB in {} tensors ({}) to '{}' in {:.2} s",
        bytes as f64 / 1e6,
        job.model.tensors.len() + job.model.rope.len(),
        types.join(", "),
        output.display(),
        took.as_secs_f64(),
    );
}
