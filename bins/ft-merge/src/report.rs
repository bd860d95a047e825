//! What a person is told at the end.

use std::time::Duration;

use crate::adapters::Adapters;
use crate::args::Args;
use crate::merge::Change;
use crate::plan::Plan;

/// Says what changed, what rounding cost, and what was written.
pub fn tell(args: &Args, plan: &Plan, adapters: &Adapters, change: &Change, took: Duration) {
    tell_change(adapters, plan.tensors().count(), change, plan.dtype.as_str());
    tracing::info!(
        "wrote {:.1} MB of {} in {} to '{}' in {:.2} s",
        plan.total_bytes() as f64 / 1e6,
        plan.dtype.as_str(),
        if plan.shards.len() == 1 { "one file".into() } else { format!("{} files", plan.shards.len()) },
        args.output.display(),
        took.as_secs_f64(),
    );
}

/// Says what the adapters changed of so many tensors, and what rounding to `dtype` cost.
pub fn tell_change(adapters: &Adapters, tensors: usize, change: &Change, dtype: &str) {
    if adapters.changed() == 0 {
        return;
    }
    tracing::info!(
        "changed {} of {tensors} tensors: largest change {:.3e}, RMS {:.3e}",
        adapters.changed(),
        change.largest,
        change.rms(),
    );
    if change.largest == 0.0 {
        tracing::warn!("the adapters change nothing: every B·A is zero; was one of them trained?");
    }
    if change.largest_rounding > 0.0 {
        tracing::info!(
            "rounding the sums to {dtype}: largest {:.3e}, RMS {:.3e}",
            change.largest_rounding,
            change.rms_rounding(),
        );
    }
}
