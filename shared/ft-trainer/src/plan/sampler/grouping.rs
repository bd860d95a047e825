//! `--group-by-length`: rows of about one length in one step.

use ft_kernels::philox::Stream;

/// As transformers' `get_length_grouped_indices`, a shuffled order is cut into megabatches of up to 50 steps (at least
/// four of them where there are enough rows), each sorted by length, the longest first. Unlike it, whole steps of
/// `size` are then shuffled by `stream`, so that lengths do not fall in waves; the one with the longest row stays
/// first, so that memory that does not suffice shows at once, and a short one stays last.
pub fn group(order: &[usize], lengths: &[usize], size: usize, stream: Stream) -> Vec<usize> {
    let mega = size * (order.len() / (size * 4)).clamp(1, 50);
    let mut grouped = order.to_vec();
    for part in grouped.chunks_mut(mega) {
        // Stable, so that rows of one length keep the order that they were dealt.
        part.sort_by_key(|&row| std::cmp::Reverse(lengths[row]));
    }
    let full = grouped.len() / size;
    let (steps, short) = grouped.split_at(full * size);
    let shuffled = stream.permutation(full);
    let mut order: Vec<usize> = shuffled.iter().flat_map(|&step| &steps[step * size..][..size]).copied().collect();
    order.extend_from_slice(short);
    longest_first(&mut order, lengths, size);
    order
}

/// Brings the step with the longest row to the front; out of a short step, which stays where it is, the row alone.
fn longest_first(order: &mut [usize], lengths: &[usize], size: usize) {
    let longest = order.iter().map(|&row| lengths[row]).max();
    let Some(at) = order.iter().position(|&row| Some(lengths[row]) == longest) else { return };
    let step = at / size * size;
    if step + size > order.len() {
        order.swap(0, at);
    } else {
        for i in 0..size {
            order.swap(i, step + i);
        }
    }
}
