//! Sums over ranks in one order, whatever the number of ranks.

use std::convert::Infallible;
use std::ops::Range;

use crate::communicator::Communicator;
use crate::error::{Error, Result};
use crate::shares::shares;
use crate::tree::{TreeSum, forest_shape};
use crate::typed::{check, exchange, gather_uneven};

/// One partial sum `(level, index, vector)` as [`TreeSum::into_nodes`] gives it.
pub type Partial = (u32, usize, Vec<f32>);

/// At most about so many numbers are on their way to or from a rank at a time: 16 MiB.
const IN_FLIGHT: usize = 4 << 20;

/// The sum of all terms over all ranks, cut into slices: this rank gets slice `shares[rank]` of it.
///
/// A term is a vector of f32, equally long for all. Terms are numbered over all ranks; rank `r` holds the
/// consecutive terms `ranges[r]`, added up by a [`TreeSum`] that leaves `nodes`. Whoever owns a slice adds the
/// slices of all ranks' nodes in the terms' order, so the additions are those of one rank that holds all terms:
/// the sum is the same to the last bit for every number of ranks and every cut. Without any term it is 0.
///
/// `ranges` and `shares` are the same on all ranks; either may have empty parts.
///
/// # Errors
/// [`Error::Sizes`] if the nodes are not those of this rank's range, the ranges do not follow each other, or a
/// vector is not as long as the last share's end; and if a rank fails, is too late or calls something else.
pub fn reduce_scatter_ordered(
    ranks: &dyn Communicator,
    nodes: &[Partial],
    ranges: &[Range<usize>],
    shares: &[Range<usize>],
) -> Result<Vec<f32>> {
    in_pieces(ranks, nodes, ranges, shares, IN_FLIGHT)
}

/// [`reduce_scatter_ordered`] with about `in_flight` numbers on their way at a time.
fn in_pieces(
    ranks: &dyn Communicator,
    nodes: &[Partial],
    ranges: &[Range<usize>],
    shares: &[Range<usize>],
    in_flight: usize,
) -> Result<Vec<f32>> {
    let checked = checked(ranks, nodes, ranges, shares);
    let shapes = checked.inspect_err(|error| ranks.abort(&error.to_string()))?;
    let rank = ranks.rank();
    let mut sum = vec![0.0; shares[rank].len()];
    let most = shapes.iter().map(Vec::len).max().unwrap_or(0);
    if most == 0 {
        return Ok(sum);
    }
    // Every share is cut into pieces of this length, and the pieces are summed one after the other.
    let piece = (in_flight / (most * ranks.world())).max(1024);
    let longest = shares.iter().map(Range::len).max().unwrap_or(0);
    for start in (0..longest).step_by(piece) {
        let cut = |share: &Range<usize>| {
            let at = |offset: usize| (share.start + offset).min(share.end);
            at(start)..at(start + piece)
        };
        let mut send = Vec::new();
        for share in shares {
            for (_, _, vector) in nodes {
                send.extend_from_slice(&vector[cut(share)]);
            }
        }
        let send_counts: Vec<usize> = shares.iter().map(|share| nodes.len() * cut(share).len()).collect();
        let mine = cut(&shares[rank]).len();
        let recv_counts: Vec<usize> = shapes.iter().map(|shape| shape.len() * mine).collect();
        let received = exchange(ranks, &send, &send_counts, &recv_counts)?;
        let into = start.min(sum.len())..(start + piece).min(sum.len());
        merge(&received, &shapes, &mut sum[into]);
    }
    Ok(sum)
}

/// [`reduce_scatter_ordered`], and then every rank gets the whole sum: `len` numbers.
///
/// # Errors
/// As there.
pub fn all_reduce_ordered(
    ranks: &dyn Communicator,
    nodes: &[Partial],
    ranges: &[Range<usize>],
    len: usize,
) -> Result<Vec<f32>> {
    let shares = shares(len, ranks.world());
    let mine = reduce_scatter_ordered(ranks, nodes, ranges, &shares)?;
    gather_uneven(ranks, &mine, &shares.iter().map(Range::len).collect::<Vec<_>>())
}

/// The bytes that rank `rank` sends in [`reduce_scatter_ordered`] where it has so many nodes.
pub fn reduce_scatter_bytes(nodes: usize, shares: &[Range<usize>], rank: usize) -> u64 {
    let others = shares.iter().enumerate().filter(|(to, _)| *to != rank).map(|(_, share)| share.len());
    (nodes * others.sum::<usize>() * size_of::<f32>()) as u64
}

/// The bytes that rank `rank` of `world` sends in [`all_reduce_ordered`] where it has so many nodes.
pub fn all_reduce_bytes(nodes: usize, len: usize, world: usize, rank: usize) -> u64 {
    let shares = shares(len, world);
    let own = shares.get(rank).map_or(0, ExactSizeIterator::len);
    reduce_scatter_bytes(nodes, &shares, rank) + (own * (world - 1) * size_of::<f32>()) as u64
}

/// Adds nodes, each `sum.len()` numbers of `received`, in the order of their terms.
fn merge(received: &[f32], shapes: &[Vec<(u32, usize)>], sum: &mut [f32]) {
    // Small enough for the cache, for every node is read once and added once.
    const CHUNK: usize = 4096;
    let len = sum.len();
    for start in (0..len).step_by(CHUNK) {
        let chunk = start..(start + CHUNK).min(len);
        let mut tree = TreeSum::default();
        for (i, &(level, index)) in shapes.iter().flatten().enumerate() {
            let node = received[i * len + chunk.start..i * len + chunk.end].to_vec();
            let Ok(()) = tree.push_node(level, index, node, add);
        }
        if let Ok(Some(all)) = tree.finish(add) {
            sum[chunk].copy_from_slice(&all);
        }
    }
}

/// `left + right`, in the memory of `left`.
#[allow(clippy::needless_pass_by_value, clippy::unnecessary_wraps, reason = "the tree hands both over")]
fn add(mut left: Vec<f32>, right: Vec<f32>) -> Result<Vec<f32>, Infallible> {
    left.iter_mut().zip(&right).for_each(|(l, r)| *l += r);
    Ok(left)
}

/// The shapes of all ranks' forests, once it is clear that everything fits.
fn checked(
    ranks: &dyn Communicator,
    nodes: &[Partial],
    ranges: &[Range<usize>],
    shares: &[Range<usize>],
) -> Result<Vec<Vec<(u32, usize)>>> {
    const NAME: &str = "reduce_scatter_ordered";
    check(ranks, NAME, "the number of term ranges", ranks.world(), ranges.len())?;
    check(ranks, NAME, "the number of shares", ranks.world(), shares.len())?;
    for pair in ranges.windows(2) {
        check(ranks, NAME, "the start of a term range", pair[0].end, pair[1].start)?;
    }
    let mut end = 0;
    for share in shares {
        check(ranks, NAME, "the start of a share", end, share.start)?;
        end = share.end;
    }
    let shapes: Vec<_> = ranges.iter().map(|range| forest_shape(range.clone())).collect();
    let found: Vec<_> = nodes.iter().map(|node| (node.0, node.1)).collect();
    if found != shapes[ranks.rank()] {
        let expected = format!("{:?}, those of terms {:?}", shapes[ranks.rank()], ranges[ranks.rank()]);
        let found = format!("{found:?}");
        return Err(Error::Sizes { collective: NAME, rank: ranks.rank(), what: "the list of nodes", expected, found });
    }
    for node in nodes {
        check(ranks, NAME, "the length of a vector", end, node.2.len())?;
    }
    Ok(shapes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Threads;
    use std::thread;
    use std::time::Duration;

    #[test]
    fn pieces_join_without_a_seam() {
        let len = 10_000;
        let term = |number: usize| (0..len).map(|i| 1.0 / (1 + number * 7 + i * 3) as f32).collect::<Vec<f32>>();
        let forest = |range: Range<usize>| {
            let mut tree = TreeSum::starting_at(range.start);
            for number in range {
                let Ok(()) = tree.push(term(number), add);
            }
            tree
        };
        let Ok(Some(alone)) = forest(0..11).finish(add) else { panic!("no sum") };
        let (ranges, shares) = ([0..5, 5..5, 5..11], [0..100, 100..3000, 3000..len]);
        thread::scope(|scope| {
            for ranks in Threads::new(3, Duration::from_secs(30)) {
                let (ranges, shares, alone, forest) = (&ranges, &shares, &alone, &forest);
                scope.spawn(move || {
                    let nodes = forest(ranges[ranks.rank()].clone()).into_nodes();
                    let whole = reduce_scatter_ordered(&*ranks, &nodes, ranges, shares).unwrap();
                    let before = ranks.traffic().all_to_all;
                    // The shortest pieces: seven for the longest share, one for the shortest.
                    let pieces = in_pieces(&*ranks, &nodes, ranges, shares, 1).unwrap();
                    assert_eq!(pieces, whole);
                    assert_eq!(pieces, alone[shares[ranks.rank()].clone()]);
                    assert_eq!(ranks.traffic().all_to_all - before, before);
                });
            }
        });
    }
}
