//! What one of several ranks on a machine takes of its processors.

use std::num::NonZeroUsize;

use anyhow::Result;

use super::placement::Placement;
use super::variables::{Variables, number};

/// How many threads a launched rank has where `--threads` does not say it: what `OMP_NUM_THREADS` says, as torchrun sets
/// it, else its even share of the machine.
///
/// # Errors
/// If `OMP_NUM_THREADS` is no number of threads.
pub fn threads(placement: &Placement, variables: &Variables<'_>) -> Result<NonZeroUsize> {
    // OpenMP's list has a number for each level of nesting.
    let outermost = |name: &str| Some(variables(name)?.split(',').next()?.to_owned()).filter(|text| !text.is_empty());
    let told = number(&outermost, "OMP_NUM_THREADS", 1..=4096)?;
    let usable = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let share = || {
        let bound = Bound { own: processors_of("self"), launcher: processors_of(&parent()) };
        even_share(usable, bound, placement.local_world)
    };
    Ok(NonZeroUsize::new(told.unwrap_or_else(share)).unwrap_or(NonZeroUsize::MIN))
}

/// How many processors a rank and its launcher may run on, where that can be seen.
#[derive(Clone, Copy)]
struct Bound {
    own: Option<usize>,
    launcher: Option<usize>,
}

/// A rank's part of its machine, of which it may use `usable` processors. A launcher that may run on more has bound its
/// ranks to processors of their own already (`mpirun --bind-to core`, srun), which are not divided once more.
fn even_share(usable: usize, bound: Bound, ranks: usize) -> usize {
    let all = match (bound.own, bound.launcher) {
        // Less than it is bound to: a container's quota, which is one for all ranks.
        (Some(own), _) if usable < own => usable,
        (Some(own), Some(launcher)) => launcher.max(own),
        _ => usable,
    };
    usable.min((all / ranks).max(1))
}

/// The processors that Linux lets a process run on.
fn processors_of(process: &str) -> Option<usize> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    counted(status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?)
}

/// How many numbers `0-3,8` has.
fn counted(list: &str) -> Option<usize> {
    let of_range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        (last + 1).checked_sub(first)
    };
    list.trim().split(',').map(of_range).sum()
}

#[cfg(unix)]
fn parent() -> String {
    std::os::unix::process::parent_id().to_string()
}

#[cfg(not(unix))]
fn parent() -> String {
    "none".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_share_evenly_what_their_launcher_has_not_dealt_out() {
        let share = |usable, own, launcher, ranks| even_share(usable, Bound { own, launcher }, ranks);
        assert_eq!(share(64, Some(64), Some(64), 8), 8);
        assert_eq!(share(64, None, None, 8), 8);
        assert_eq!(share(2, Some(2), Some(2), 8), 1, "a rank has a thread");
        assert_eq!(share(1, Some(1), Some(64), 8), 1, "bound to a core each");
        assert_eq!(share(32, Some(32), Some(64), 8), 8, "bound to half of the machine each");
        assert_eq!(share(4, Some(4), Some(64), 16), 4, "four cores a task");
        assert_eq!(share(16, Some(64), Some(64), 4), 4, "a container's quota");
    }

    #[test]
    fn lists_of_processors() {
        assert_eq!(counted("\t0-3,8\n"), Some(5));
        assert_eq!(counted("7"), Some(1));
        assert_eq!(counted(""), None);
        assert_eq!(counted("3-1"), None);
    }
}
