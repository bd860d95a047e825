//! What is said of sums whose parts do not fit.

#![allow(clippy::single_range_in_vec_init, reason = "one rank has one range")]

mod common;

use std::time::Duration;

use common::{is_failure, on_all, tree};
use ft_dist::{Solo, Threads, reduce_scatter_ordered};

#[test]
fn nodes_of_other_terms_are_refused() {
    let nodes = tree(0..3, 4).into_nodes();
    let error = reduce_scatter_ordered(&Solo, &nodes, &[0..4], &[0..4]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "reduce_scatter_ordered on rank 0: the list of nodes should be [(2, 0)], those of terms 0..4, but is \
         [(1, 0), (0, 2)]"
    );
    let error = reduce_scatter_ordered(&Solo, &nodes, &[0..3], &[0..5]).unwrap_err();
    assert_eq!(error.to_string(), "reduce_scatter_ordered on rank 0: the length of a vector should be 5, but is 4");
}

#[test]
fn a_fault_on_one_rank_is_told_to_the_others() {
    on_all(Threads::new(2, Duration::from_secs(30)), |ranks| {
        let nodes = tree(0..1, 4).into_nodes();
        // Rank 1's node is not that of term 1.
        let result = reduce_scatter_ordered(&*ranks, &nodes, &[0..1, 1..2], &[0..2, 2..4]);
        if ranks.rank() == 1 {
            let said = result.unwrap_err().to_string();
            assert!(said.contains("should be [(0, 1)], those of terms 1..2, but is [(0, 0)]"), "{said}");
        } else {
            is_failure(result, 1, "those of terms 1..2");
        }
    });
}
