//! Bins of whole sequences: those that `--packing` makes, and those that the file's rows are.

use std::collections::{BTreeMap, VecDeque};

use crate::error::{Error, Result};

/// The sequences of each row, where some row holds several; `rows` are the numbers of their rows, rising.
pub fn of_rows(rows: &[usize]) -> Option<Vec<Vec<usize>>> {
    let bins: Vec<Vec<usize>> =
        (0..rows.len()).collect::<Vec<_>>().chunk_by(|&a, &b| rows[a] == rows[b]).map(<[usize]>::to_vec).collect();
    (bins.len() < rows.len()).then_some(bins)
}

/// Best-fit decreasing (D. S. Johnson, "Near-optimal bin packing algorithms", 1973): the longest row first, each into
/// the bin that it fills best, and of several the one that has waited longest. These are the bins of trl's `_pack_bfd`.
/// A bin lists its rows in the order in which they came; an empty row is in none.
///
/// # Errors
/// Where a row is longer than `capacity`.
pub fn best_fit_decreasing(lengths: &[usize], capacity: usize) -> Result<Vec<Vec<usize>>> {
    let mut rows: Vec<usize> = (0..lengths.len()).filter(|&row| lengths[row] > 0).collect();
    rows.sort_by_key(|&row| std::cmp::Reverse(lengths[row]));
    if let Some(&row) = rows.first().filter(|&&row| lengths[row] > capacity) {
        return Err(Error::Rows(format!(
            "row {} has {} tokens and does not fit a packed sequence of {capacity}; raise --max-seq-length, or give \
             --overlong drop or truncate",
            row + 1,
            lengths[row]
        )));
    }
    let mut bins: Vec<Vec<usize>> = Vec::new();
    // Bins by the space that is left in them.
    let mut open: BTreeMap<usize, VecDeque<usize>> = BTreeMap::new();
    for row in rows {
        let best = open.range(lengths[row]..).next().map(|(&space, _)| space);
        let found = best.and_then(|space| Some((space, open.get_mut(&space)?.pop_front()?)));
        let (space, bin) = found.unwrap_or_else(|| {
            bins.push(Vec::new());
            (capacity, bins.len() - 1)
        });
        if open.get(&space).is_some_and(VecDeque::is_empty) {
            open.remove(&space);
        }
        bins[bin].push(row);
        if space > lengths[row] {
            open.entry(space - lengths[row]).or_default().push_back(bin);
        }
    }
    Ok(bins)
}
