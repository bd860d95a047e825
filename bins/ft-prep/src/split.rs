//! An exact split into train and test.

use std::str::FromStr;

use crate::random::next;

/// One side of the split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Side {
    /// What is trained on.
    Train,
    /// What is held out.
    Test,
}

impl Side {
    /// The side's name in messages and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }

    /// Its file in an output folder.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Train => "train.parquet",
            Self::Test => "test.parquet",
        }
    }
}

/// How much goes to the test side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TestSize {
    /// This share of the rows, rounded up.
    Share(f64),
    /// This many rows.
    Rows(u64),
}

impl FromStr for TestSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(rows) = text.parse() {
            return Ok(Self::Rows(rows));
        }
        match text.parse() {
            Ok(share) if share > 0.0 && share < 1.0 => Ok(Self::Share(share)),
            _ => Err("expected a share between 0 and 1, or a whole number of rows".into()),
        }
    }
}

impl TestSize {
    /// Test rows among `rows`; `ceil` as scikit-learn's `train_test_split`
    /// does. Words for what is wrong if a side would be empty.
    pub fn of(self, rows: u64) -> Result<u64, String> {
        let test = match self {
            Self::Share(share) => (share * rows as f64).ceil() as u64,
            Self::Rows(test) => test,
        };
        if test >= rows {
            return Err(format!(
                "{test} of {rows} rows for testing leave none to train on; give a smaller --test-size"
            ));
        }
        Ok(test)
    }
}

/// Chooses rows one after the other.
///
/// This is selection sampling (Knuth, The Art of Computer Programming 2,
/// 3.4.2, algorithm S): row i is taken with the probability (still to take) /
/// (still to come). Every subset of the right size is equally likely, exactly
/// as if the rows were put in a random permutation and its first ones taken,
/// but no permutation has to be held.
#[derive(Clone, Debug)]
pub struct Selection {
    state: u64,
    to_take: u64,
    to_come: u64,
}

impl Selection {
    /// Chooses `number` of `rows`.
    pub fn new(seed: u64, number: u64, rows: u64) -> Self {
        Self { state: seed, to_take: number, to_come: rows }
    }

    /// Whether the next row is taken.
    pub fn next_is_taken(&mut self) -> bool {
        // A random number below `to_come`, from the high half of the product.
        let draw = (u128::from(next(&mut self.state)) * u128::from(self.to_come)) >> 64;
        self.to_come = self.to_come.saturating_sub(1);
        let take = draw < u128::from(self.to_take);
        self.to_take -= u64::from(take);
        take
    }
}

/// Which rows are written, and to which side.
pub enum Chooser {
    /// As random numbers say while they go by.
    Drawn {
        /// Where only some of the rows are taken.
        sample: Option<Selection>,
        /// Which of those are test rows.
        test: Option<Selection>,
    },
    /// As was found before.
    Known(std::vec::IntoIter<Option<Side>>),
}

impl Chooser {
    /// Of `rows` rows, those that `sample` (seed, number) takes, or all; of these those that `test` (seed, number) takes
    /// are test rows.
    pub fn new(rows: u64, sample: Option<(u64, u64)>, test: Option<(u64, u64)>) -> Self {
        let taken = sample.map_or(rows, |(_, number)| number);
        Self::Drawn {
            sample: sample.map(|(seed, number)| Selection::new(seed, number, rows)),
            test: test.map(|(seed, number)| Selection::new(seed, number, taken)),
        }
    }

    /// The side of the next row; none where it is not written.
    pub fn next_side(&mut self) -> Option<Side> {
        match self {
            Self::Drawn { sample, test } => {
                if sample.as_mut().is_some_and(|sample| !sample.next_is_taken()) {
                    return None;
                }
                let is_test = test.as_mut().is_some_and(Selection::next_is_taken);
                Some(if is_test { Side::Test } else { Side::Train })
            }
            Self::Known(sides) => sides.next().flatten(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(seed: u64, test: u64, rows: u64) -> Vec<u64> {
        let mut selection = Selection::new(seed, test, rows);
        (0..rows).filter(|_| selection.next_is_taken()).collect()
    }

    #[test]
    fn exactly_as_many_as_asked() {
        for seed in 0..50 {
            for (test, rows) in [(1, 2), (3, 10), (9, 10), (100, 1000), (999, 1000)] {
                assert_eq!(chosen(seed, test, rows).len() as u64, test);
            }
        }
    }

    #[test]
    fn rounds_up_as_scikit_learn() {
        assert_eq!(TestSize::Share(0.1).of(101), Ok(11));
        assert_eq!(TestSize::Share(0.2).of(10), Ok(2));
        assert_eq!(TestSize::Rows(3).of(10), Ok(3));
        assert!(TestSize::Share(0.5).of(1).is_err());
        assert!(TestSize::Rows(10).of(10).is_err());
    }

    #[test]
    fn every_row_is_equally_likely() {
        let mut hits = [0_u32; 10];
        for seed in 0..20_000 {
            for row in chosen(seed, 3, 10) {
                hits[row as usize] += 1;
            }
        }
        // 6000 expected, standard deviation 65.
        assert!(hits.iter().all(|&n| (5_600..6_400).contains(&n)), "{hits:?}");
    }

    #[test]
    fn shares_and_numbers_are_told_apart() {
        assert_eq!("0.25".parse(), Ok(TestSize::Share(0.25)));
        assert_eq!("500".parse(), Ok(TestSize::Rows(500)));
        for wrong in ["1.0", "-1", "x", "NaN"] {
            assert!(wrong.parse::<TestSize>().is_err(), "{wrong}");
        }
    }
}
