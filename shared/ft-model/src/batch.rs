//! A micro-batch: sequences laid end to end, without padding.

use ft_io::IGNORE_INDEX;

use crate::arch::Architecture;
use crate::error::{Error, Result};

/// One training example: its tokens, and their labels as Hugging Face aligns them (label `t` belongs to
/// token `t`; the shift is inside the loss).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    pub input_ids: Vec<u32>,
    pub labels: Vec<i32>,
}

impl Sequence {
    /// How many of the labels count: the first has nothing before it that could predict it.
    pub fn labelled(&self) -> usize {
        self.labels.iter().skip(1).filter(|&&l| l != IGNORE_INDEX).count()
    }

    /// Whether a model can take it.
    ///
    /// # Errors
    /// If it is longer than the model's learned positions, or a token or a label lies outside the vocabulary.
    pub fn check(&self, arch: &Architecture) -> Result<()> {
        let length = self.input_ids.len();
        if let Some(limit) = arch.longest().filter(|limit| length > *limit) {
            return Err(Error::TooLong { length, limit });
        }
        let vocabulary = arch.vocab_size;
        let labels = self.labels.iter().filter_map(|&l| u32::try_from(l).ok());
        match self.input_ids.iter().copied().chain(labels).find(|&id| id as usize >= vocabulary) {
            Some(id) => Err(Error::Token { id, vocabulary }),
            None => Ok(()),
        }
    }
}

/// Sequences laid end to end. Positions restart at each of them, and attention never crosses a start.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// The tokens of all the sequences, one after the other.
    pub ids: Vec<u32>,
    /// Where each sequence starts, and the number of tokens last.
    pub starts: Vec<usize>,
    /// The rows that have a label, rising.
    pub rows: Vec<u32>,
    /// For each of `rows` the token that comes next.
    pub targets: Vec<u32>,
    /// For each of `rows` its sequence's place in the batch.
    pub owners: Vec<usize>,
}

impl Batch {
    /// Lays `sequences` end to end. A sequence without tokens keeps its place.
    pub fn new<'a>(sequences: impl IntoIterator<Item = &'a Sequence>) -> Self {
        let mut batch = Self { starts: vec![0], ..Self::default() };
        for sequence in sequences {
            let (first, owner) = (batch.ids.len(), batch.starts.len() - 1);
            for (t, &label) in sequence.labels.iter().enumerate().skip(1) {
                if let Ok(target) = u32::try_from(label) {
                    batch.rows.push((first + t - 1) as u32);
                    batch.targets.push(target);
                    batch.owners.push(owner);
                }
            }
            batch.ids.extend(&sequence.input_ids);
            batch.starts.push(batch.ids.len());
        }
        batch
    }

    /// Lays prompts end to end; nothing of them is labelled.
    pub fn of_prompts(prompts: &[&[u32]]) -> Self {
        let mut batch = Self { starts: vec![0], ..Self::default() };
        for prompt in prompts {
            batch.ids.extend_from_slice(prompt);
            batch.starts.push(batch.ids.len());
        }
        batch
    }

    /// The position of each token in its sequence.
    pub fn positions(&self) -> Vec<usize> {
        self.starts.windows(2).flat_map(|span| 0..span[1] - span[0]).collect()
    }

    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    pub fn sequences(&self) -> usize {
        self.starts.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_shifted_within_their_sequence() {
        let one = Sequence { input_ids: vec![5, 6, 7], labels: vec![5, IGNORE_INDEX, 7] };
        let two = Sequence { input_ids: vec![8, 9], labels: vec![8, 9] };
        let batch = Batch::new([&one, &two]);
        assert_eq!(batch.starts, [0, 3, 5]);
        assert_eq!(batch.rows, [1, 3], "the first label of a sequence predicts nothing");
        assert_eq!(batch.targets, [7, 9]);
        assert_eq!(batch.owners, [0, 1]);
        assert_eq!(batch.positions(), [0, 1, 2, 0, 1]);
        assert_eq!((one.labelled(), two.labelled()), (1, 1));
    }
}
