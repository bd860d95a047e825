//! The arithmetic of shards.

use std::ops::Range;

/// Cuts `len` elements into `world` consecutive shares that differ by at most one, the longer ones first. Shares at
/// the end are empty where there are more ranks than elements.
pub fn shares(len: usize, world: usize) -> Vec<Range<usize>> {
    shares_of_units(len, world, 1)
}

/// Like [`shares`], but every share starts at a multiple of `unit` (a quantisation block, a row), and only the last
/// one that is not empty can end elsewhere: at `len`. A `unit` of 0 counts as 1.
pub fn shares_of_units(len: usize, world: usize, unit: usize) -> Vec<Range<usize>> {
    (0..world).map(|rank| share_of_units(len, world, unit, rank)).collect()
}

/// The share of `rank` among those of [`shares_of_units`]; an empty one where `world` is 0.
pub fn share_of_units(len: usize, world: usize, unit: usize, rank: usize) -> Range<usize> {
    let unit = unit.max(1);
    let units = len.div_ceil(unit);
    let Some(each) = units.checked_div(world) else { return 0..0 };
    let start = |rank: usize| (rank * each + rank.min(units % world)).saturating_mul(unit).min(len);
    start(rank)..start(rank + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_shares_are_one_longer() {
        assert_eq!(shares(10, 4), [0..3, 3..6, 6..8, 8..10]);
        assert_eq!(shares(2, 3), [0..1, 1..2, 2..2]);
        assert_eq!(shares(0, 2), [0..0, 0..0]);
        assert_eq!(shares_of_units(100, 3, 32), [0..64, 64..96, 96..100]);
        assert_eq!(shares_of_units(5, 3, 32), [0..5, 5..5, 5..5]);
        assert_eq!(shares(5, 0), []);
    }

    proptest! {
        #[test]
        fn shares_cover_everything_once(len in 0usize..5000, world in 1usize..17, unit in 1usize..70) {
            let shares = shares_of_units(len, world, unit);
            prop_assert_eq!(shares.len(), world);
            prop_assert_eq!((shares[0].start, shares[world - 1].end), (0, len));
            for pair in shares.windows(2) {
                prop_assert_eq!(pair[0].end, pair[1].start);
                prop_assert!(pair[0].len() >= pair[1].len());
                prop_assert!(pair[0].len() - pair[1].len() < 2 * unit);
                prop_assert!(pair[1].start % unit == 0 || pair[1].start == len);
            }
        }
    }
}
