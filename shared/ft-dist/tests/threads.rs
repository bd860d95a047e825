//! Ranks as threads, and one rank alone.

mod common;

use std::ops::Range;
use std::time::Duration;

use common::{
    Ranks, aborts, check_ordered, collectives, disagrees, leaves, leaves_in_peace, misuse, on_all, times_out,
};
use ft_dist::{Solo, Threads};
use proptest::prelude::*;

fn ranks(world: usize) -> Ranks {
    Threads::new(world, Duration::from_secs(30))
}

#[test]
fn one_rank_does_all_collectives() {
    collectives(&Solo);
}

#[test]
fn threads_do_all_collectives() {
    for world in [1, 2, 3, 4, 8] {
        on_all(ranks(world), |ranks| collectives(&*ranks));
    }
}

#[test]
fn an_abort_is_heard_by_all() {
    aborts(ranks(2));
    aborts(ranks(4));
}

#[test]
fn a_rank_that_does_not_come_is_named() {
    times_out(Threads::new(3, Duration::from_secs(1)));
}

#[test]
fn a_rank_that_left_is_named() {
    leaves(ranks(3));
    leaves_in_peace(ranks(4));
}

#[test]
fn calls_that_do_not_fit_are_named() {
    disagrees(&|| ranks(2));
    disagrees(&|| ranks(4));
    misuse(ranks(3));
}

/// Consecutive ranges from `start` with these lengths.
fn consecutive(start: usize, lens: &[usize]) -> Vec<Range<usize>> {
    let mut at = start;
    lens.iter()
        .map(|len| {
            at += len;
            at - len..at
        })
        .collect()
}

proptest! {
    /// However terms are cut among ranks, the sum has the bits that one rank gets.
    #[test]
    fn a_sum_does_not_know_the_ranks(
        start in 0usize..40,
        lens in prop::collection::vec(0usize..21, 1..9),
        len in 0usize..40,
    ) {
        let ranges = consecutive(start, &lens);
        on_all(ranks(lens.len()), |ranks| check_ordered(&*ranks, &ranges, len));
    }
}
