//! Spans around the parts of a step, for whoever measures where its time goes (`ft-bench train --profile`). They have the
//! target [`TARGET`] and the operator's name; `forward` and `backward` are spans around the others. Where nobody listens one
//! costs a comparison.

/// The target of the spans.
pub const TARGET: &str = "ft_profile";
/// The spans around a pass.
pub const PASSES: [&str; 2] = ["forward", "backward"];

/// Enters the span of this name; it ends where the value is dropped.
macro_rules! timed {
    ($name:literal) => {
        tracing::trace_span!(target: $crate::spans::TARGET, $name).entered()
    };
}
pub(crate) use timed;

use crate::projection::Site;

/// The span of a site's product.
pub(crate) fn of_site(site: Site) -> tracing::span::EnteredSpan {
    match site {
        Site::Qkv => timed!("qkv"),
        Site::O => timed!("o"),
        Site::GateUp => timed!("gate_up"),
        Site::Down => timed!("down"),
    }
}
