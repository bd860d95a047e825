//! Sides for whole groups, with each kind's share of rows on both.

use std::collections::{BTreeMap, HashMap};

use crate::facts::Facts;
use crate::near::Index;
use crate::random::{Use, mixed, nth, seed_of};

/// Which rows are test rows: about `test` of them, so that no group is on both sides and each stratum has its share of
/// them. Without groups each row is one, and the number is exact.
///
/// # Errors
/// Words where every group is too large.
pub fn assign(facts: &Facts, rows: usize, test: u64, seed: u64) -> Result<Vec<bool>, String> {
    let seed = seed_of(seed, Use::Groups);
    let mut strata: BTreeMap<u64, Stratum> = BTreeMap::new();
    let mut known: HashMap<u64, (u64, usize)> = HashMap::new();
    let mut members = Vec::with_capacity(rows);
    for row in 0..rows {
        let group = facts.groups.get(row).copied().unwrap_or(row as u64);
        // A group is of the stratum of its first row.
        let (stratum, number) = *known.entry(group).or_insert_with(|| {
            let stratum = facts.strata.get(row).copied().unwrap_or(0);
            let of = strata.entry(stratum).or_default();
            let key = if facts.groups.is_empty() { nth(seed, group) } else { mixed(seed ^ mixed(group)) };
            of.groups.push(Group { key, rows: 0, is_test: false });
            (stratum, of.groups.len() - 1)
        });
        if let Some(stratum) = strata.get_mut(&stratum) {
            stratum.groups[number].rows += 1;
            stratum.rows += 1;
        }
        members.push((stratum, number));
    }
    share(&mut strata, test, rows as u64);
    let taken: u64 = strata.values_mut().map(Stratum::take).sum();
    if taken == 0 {
        let smallest = strata.values().flat_map(|stratum| &stratum.groups).map(|group| group.rows).min().unwrap_or(0);
        return Err(format!(
            "no group fits into {test} test rows, the smallest has {smallest} rows; give a larger --test-size"
        ));
    }
    let is_test = |(stratum, number): (u64, usize)| strata.get(&stratum).is_some_and(|of| of.groups[number].is_test);
    Ok(members.into_iter().map(is_test).collect())
}

#[derive(Default)]
struct Stratum {
    groups: Vec<Group>,
    rows: u64,
    /// Test rows that it shall have.
    test: u64,
}

struct Group {
    key: u64,
    rows: u64,
    is_test: bool,
}

/// Shares the test rows out in proportion, what is left over to the largest remainders.
fn share(strata: &mut BTreeMap<u64, Stratum>, test: u64, rows: u64) {
    let exact = |stratum: &Stratum| u128::from(stratum.rows) * u128::from(test);
    let mut left = test;
    for stratum in strata.values_mut() {
        stratum.test = (exact(stratum) / u128::from(rows)) as u64;
        left -= stratum.test;
    }
    let mut by_remainder: Vec<&mut Stratum> = strata.values_mut().collect();
    by_remainder.sort_by_key(|stratum| std::cmp::Reverse(exact(stratum) % u128::from(rows)));
    by_remainder.into_iter().take(left as usize).for_each(|stratum| stratum.test += 1);
}

impl Stratum {
    /// Takes groups in a random order as long as they fit; gives the rows in them.
    fn take(&mut self) -> u64 {
        let mut order: Vec<&mut Group> = self.groups.iter_mut().collect();
        order.sort_by_key(|group| group.key);
        let mut taken = 0;
        for group in order {
            if taken + group.rows <= self.test {
                group.is_test = true;
                taken += group.rows;
            }
        }
        taken
    }
}

/// Groups of rows that are near each other, or near one that is near another, and so on: each row's is the number of its
/// first row. Rows of one group before stay together.
pub fn of_near_rows(facts: &Facts, threshold: f64) -> Vec<u64> {
    let mut parents: Vec<usize> = (0..facts.shingles.len()).collect();
    let mut first: HashMap<u64, usize> = HashMap::new();
    let mut index = Index::new(threshold);
    for (row, shingles) in facts.shingles.iter().enumerate() {
        if let Some(group) = facts.groups.get(row) {
            let other = *first.entry(*group).or_insert(row);
            join(&mut parents, row, other);
        }
        for (other, _) in index.near(shingles) {
            join(&mut parents, row, other);
        }
        index.insert(shingles.clone());
    }
    (0..parents.len()).map(|row| root(&mut parents, row) as u64).collect()
}

fn join(parents: &mut [usize], a: usize, b: usize) {
    let (a, b) = (root(parents, a), root(parents, b));
    parents[a.max(b)] = a.min(b);
}

fn root(parents: &mut [usize], mut row: usize) -> usize {
    while parents[row] != row {
        parents[row] = parents[parents[row]];
        row = parents[row];
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_stay_whole_and_strata_have_their_share() {
        for seed in 0..20 {
            let groups: Vec<u64> = (0..1000).map(|row| row / 7).collect();
            let facts = Facts { groups: groups.clone(), ..Facts::default() };
            let sides = assign(&facts, 1000, 100, seed).unwrap();
            let test = sides.iter().filter(|is_test| **is_test).count();
            assert!((94..=100).contains(&test), "{test}");
            for (a, b) in groups.iter().zip(&sides).zip(groups.iter().zip(&sides).skip(1)) {
                assert!(a.0 != b.0 || a.1 == b.1);
            }
            let strata: Vec<u64> = (0..1000).map(|row| u64::from(row % 10 == 0)).collect();
            let facts = Facts { strata: strata.clone(), ..Facts::default() };
            let sides = assign(&facts, 1000, 105, seed).unwrap();
            let of = |kind: u64| sides.iter().zip(&strata).filter(|(side, of)| **side && **of == kind).count();
            assert_eq!((of(0) + of(1), of(0) == 94 || of(0) == 95), (105, true));
        }
        let facts = Facts { groups: vec![1; 10], ..Facts::default() };
        assert!(assign(&facts, 10, 5, 0).unwrap_err().contains("the smallest has 10 rows"));
    }

    #[test]
    fn nearness_is_passed_on() {
        let shingles = [[1, 2, 3], [2, 3, 4], [3, 4, 5], [7, 8, 9]].map(|s: [u32; 3]| s.to_vec().into_boxed_slice());
        let facts = Facts { shingles: shingles.to_vec(), ..Facts::default() };
        assert_eq!(of_near_rows(&facts, 0.5), [0, 0, 0, 3]);
        let facts = Facts { shingles: shingles.to_vec(), groups: vec![1, 2, 3, 3], ..Facts::default() };
        assert_eq!(of_near_rows(&facts, 0.9), [0, 1, 2, 2]);
    }
}
