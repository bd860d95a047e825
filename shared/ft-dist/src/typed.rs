//! Small exchanges over any communicator: typed slices, words, and settings that must agree.

use bytemuck::Pod;

use crate::call::Sizes;
use crate::communicator::Communicator;
use crate::error::{Error, Result};

/// Every rank's elements laid end to end in the ranks' order: part `r` has `counts[r]` elements, which may be 0.
/// `T` is any plain number: f32, bf16, f16, u8, u64.
///
/// # Errors
/// If `mine` does not have `counts[rank]` elements, or a rank fails, is too late or calls something else.
pub fn gather_uneven<T: Pod>(ranks: &dyn Communicator, mine: &[T], counts: &[usize]) -> Result<Vec<T>> {
    let mut out = vec![T::zeroed(); counts.iter().sum()];
    gather_uneven_into(ranks, mine, counts, &mut out)?;
    Ok(out)
}

/// [`gather_uneven`] to a place that is there already.
///
/// # Errors
/// As there, and if `out` does not have as many elements as `counts` say.
pub fn gather_uneven_into<T: Pod>(ranks: &dyn Communicator, mine: &[T], counts: &[usize], out: &mut [T]) -> Result<()> {
    let bytes: Vec<usize> = counts.iter().map(|&n| n * size_of::<T>()).collect();
    ranks.all_gather(bytemuck::cast_slice(mine), &bytes, bytemuck::cast_slice_mut(out))
}

/// Every rank's elements, where the others' numbers of elements are not known beforehand.
///
/// # Errors
/// If a rank fails, is too late or calls something else.
pub fn gather_lists<T: Pod>(ranks: &dyn Communicator, mine: &[T]) -> Result<Vec<Vec<T>>> {
    let counts: Vec<usize> = gather_u64(ranks, mine.len() as u64)?.into_iter().map(|n| n as usize).collect();
    let all = gather_uneven(ranks, mine, &counts)?;
    let mut rest = all.as_slice();
    let mut lists = Vec::with_capacity(counts.len());
    for count in counts {
        let (list, after) = rest.split_at(count);
        lists.push(list.to_vec());
        rest = after;
    }
    Ok(lists)
}

/// Every rank's words, in the ranks' order.
///
/// # Errors
/// If a rank fails, is too late or calls something else.
pub fn gather_strings(ranks: &dyn Communicator, mine: &str) -> Result<Vec<String>> {
    let lists = gather_lists(ranks, mine.as_bytes())?;
    Ok(lists.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect())
}

/// Every rank's elements go to their owners: `send` is cut by `send_counts`, part `r` goes to rank `r`; part `r` of
/// the result came from rank `r` and has `recv_counts[r]` elements.
///
/// # Errors
/// If sizes do not fit, or a rank fails, is too late or calls something else.
pub fn exchange<T: Pod>(
    ranks: &dyn Communicator,
    send: &[T],
    send_counts: &[usize],
    recv_counts: &[usize],
) -> Result<Vec<T>> {
    let bytes = |counts: &[usize]| counts.iter().map(|&n| n * size_of::<T>()).collect::<Vec<_>>();
    let mut out = vec![T::zeroed(); recv_counts.iter().sum()];
    ranks.all_to_all(
        bytemuck::cast_slice(send),
        &bytes(send_counts),
        &bytes(recv_counts),
        bytemuck::cast_slice_mut(&mut out),
    )?;
    Ok(out)
}

/// The root's elements, on every rank.
///
/// # Errors
/// If sizes or roots differ, or a rank fails, is too late or calls something else.
pub fn broadcast<T: Pod>(ranks: &dyn Communicator, root: usize, elements: &mut [T]) -> Result<()> {
    ranks.broadcast(root, bytemuck::cast_slice_mut(elements))
}

/// Makes sure that `mine` is the same on all ranks; `what` says what it is, for the error.
///
/// # Errors
/// [`Error::Disagree`], on every rank, with the first rank that differs from rank 0 and both values; or if a rank
/// fails, is too late or calls something else.
pub fn agree(ranks: &dyn Communicator, what: &str, mine: &str) -> Result<()> {
    let mut all = gather_strings(ranks, mine)?;
    let Some(rank) = all.iter().position(|value| *value != all[0]) else { return Ok(()) };
    let other = (rank, all.swap_remove(rank));
    Err(Error::Disagree { what: what.to_string(), first: (0, all.swap_remove(0)), other })
}

/// Whether `mine` is true on any rank.
///
/// # Errors
/// If a rank fails, is too late or calls something else.
pub fn any(ranks: &dyn Communicator, mine: bool) -> Result<bool> {
    Ok(max(ranks, u64::from(mine))? > 0)
}

/// The largest `mine` of all ranks.
///
/// # Errors
/// If a rank fails, is too late or calls something else.
pub fn max(ranks: &dyn Communicator, mine: u64) -> Result<u64> {
    Ok(gather_u64(ranks, mine)?.into_iter().max().unwrap_or(mine))
}

/// The sum of all ranks' `mine`.
///
/// # Errors
/// If a rank fails, is too late or calls something else.
pub fn sum(ranks: &dyn Communicator, mine: u64) -> Result<u64> {
    Ok(gather_u64(ranks, mine)?.into_iter().sum())
}

/// Every rank's number, in the ranks' order.
///
/// # Errors
/// If a rank fails, is too late or calls something else.
pub fn gather_u64(ranks: &dyn Communicator, mine: u64) -> Result<Vec<u64>> {
    gather_uneven(ranks, &[mine], &vec![1; ranks.world()])
}

/// The error of a list or a length that does not fit what all ranks agreed on.
pub(crate) fn check(
    ranks: &dyn Communicator,
    function: &'static str,
    what: &'static str,
    expected: usize,
    found: usize,
) -> Result<()> {
    Sizes { collective: function, rank: ranks.rank() }.check(what, expected, found)
}
