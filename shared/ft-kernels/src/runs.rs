//! Sequences of one length that follow each other: what a device computes at once.

use candle_core::{Result, Tensor};

/// Some sequences of the same length, laid end to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first one's first row.
    pub start: usize,
    /// The rows of each.
    pub len: usize,
    /// How many there are.
    pub count: usize,
}

impl Run {
    /// The run's rows of `x` `[tokens, columns]`.
    pub fn rows(&self, x: &Tensor) -> Result<Tensor> {
        x.narrow(0, self.start, self.len * self.count)
    }
}

/// The sequences `starts[i]..starts[i + 1]` that are not empty, at most `most` in a run.
pub fn runs(starts: &[usize], most: usize) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for pair in starts.windows(2) {
        let (start, len) = (pair[0], pair[1] - pair[0]);
        match runs.last_mut() {
            _ if len == 0 => {}
            Some(run) if run.len == len && run.count < most => run.count += 1,
            _ => runs.push(Run { start, len, count: 1 }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_neighbours_are_one_run() {
        let run = |start, len, count| Run { start, len, count };
        assert_eq!(runs(&[0, 3, 6, 6, 9, 10], 9), [run(0, 3, 3), run(9, 1, 1)]);
        assert_eq!(runs(&[0, 3, 6, 9], 2), [run(0, 3, 2), run(6, 3, 1)]);
        assert_eq!(runs(&[0], 1), []);
    }
}
