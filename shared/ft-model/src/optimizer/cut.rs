//! Which elements of the trained tensors each rank moves.

use std::ops::Range;

use ft_kernels::optim::BLOCK;

/// The trained tensors laid end to end, cut into one run of elements a rank. No cut goes through a block of
/// [`BLOCK`] elements of a tensor, for those share a scale where moments have 8 bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Where each tensor starts, and the number of all elements last.
    starts: Vec<usize>,
    /// Where each rank's run starts, and the number of all elements last.
    bounds: Vec<usize>,
}

impl Cut {
    /// Tensors of `lengths` elements, as evenly as their blocks allow.
    pub fn new(lengths: impl IntoIterator<Item = usize>, world: usize) -> Self {
        let mut starts = vec![0];
        for length in lengths {
            starts.push(starts[starts.len() - 1] + length);
        }
        let all = starts[starts.len() - 1];
        let world = world.max(1);
        let bounds = (0..=world).map(|rank| at_block(&starts, (all as u128 * rank as u128 / world as u128) as usize));
        let bounds = bounds.collect();
        Self { starts, bounds }
    }

    /// The number of ranks.
    pub fn world(&self) -> usize {
        self.bounds.len() - 1
    }

    /// The number of tensors.
    pub fn tensors(&self) -> usize {
        self.starts.len() - 1
    }

    /// The elements of tensor `tensor`.
    pub fn length(&self, tensor: usize) -> usize {
        self.starts[tensor + 1] - self.starts[tensor]
    }

    /// Each rank's run of elements, of all tensors laid end to end.
    pub fn runs(&self) -> Vec<Range<usize>> {
        self.bounds.windows(2).map(|pair| pair[0]..pair[1]).collect()
    }

    /// The blocks that are in the run of `rank`, those at the tensors' ends included.
    pub fn blocks(&self, rank: usize) -> usize {
        (0..self.tensors()).map(|tensor| self.part(tensor, rank).len().div_ceil(BLOCK)).sum()
    }

    /// The elements of tensor `tensor` that are in the run of `rank`; an empty range where there are none.
    pub fn part(&self, tensor: usize, rank: usize) -> Range<usize> {
        let (start, end) = (self.starts[tensor], self.starts[tensor + 1]);
        let inside = |bound: usize| bound.clamp(start, end) - start;
        inside(self.bounds[rank])..inside(self.bounds[rank + 1])
    }
}

/// The last start of a block at or before element `at`; the end where `at` is the end.
fn at_block(starts: &[usize], at: usize) -> usize {
    if at >= starts[starts.len() - 1] {
        return starts[starts.len() - 1];
    }
    let start = starts[starts.partition_point(|&start| start <= at) - 1];
    start + (at - start) / BLOCK * BLOCK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_cover_everything_once_and_end_at_blocks() {
        let lengths = [5000, 0, 100, 777, 256, 9000, 1];
        for world in 1..9 {
            let cut = Cut::new(lengths, world);
            let runs = cut.runs();
            assert_eq!((runs[0].start, runs[world - 1].end), (0, lengths.iter().sum()));
            assert!(runs.windows(2).all(|pair| pair[0].end == pair[1].start));
            for (tensor, &length) in lengths.iter().enumerate() {
                let parts: Vec<_> = (0..world).map(|rank| cut.part(tensor, rank)).collect();
                assert_eq!(parts.iter().map(Range::len).sum::<usize>(), length);
                let whole = |at: usize| at.is_multiple_of(BLOCK) || at == length;
                assert!(parts.iter().all(|part| whole(part.start) && whole(part.end)), "{parts:?}");
            }
            let most = runs.iter().map(Range::len).max().unwrap();
            assert!(most <= 15134 / world + 2 * BLOCK, "{runs:?}");
        }
    }

    #[test]
    fn more_ranks_than_blocks_leave_some_without_any() {
        let cut = Cut::new([10], 4);
        assert_eq!(cut.runs(), [0..0, 0..0, 0..0, 0..10]);
    }
}
