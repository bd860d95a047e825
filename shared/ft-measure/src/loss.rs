//! The loss of labelled rows.

use ft_model::batch::Batch;
use ft_model::decoder::Decoder;
use ft_model::head::SequenceLoss;

use crate::error::{Error, Result};
use crate::tokens::LabelledRows;

/// The losses of rows, some rows at a time, in their order.
pub struct Losses<'a> {
    decoder: Decoder<'a>,
    rows: &'a LabelledRows,
    batch_size: usize,
    done: usize,
}

impl<'a> Losses<'a> {
    /// Of all `rows`, `batch_size` at a time; no loss depends on how many.
    pub fn new(decoder: Decoder<'a>, rows: &'a LabelledRows, batch_size: usize) -> Self {
        Self { decoder, rows, batch_size: batch_size.max(1), done: 0 }
    }

    fn batch(&mut self) -> Result<Vec<SequenceLoss>> {
        let from = self.done;
        self.done = self.rows.sequences.len().min(from + self.batch_size);
        let losses = self.decoder.losses(&Batch::new(&self.rows.sequences[from..self.done]))?;
        match losses.iter().position(|loss| !loss.sum.is_finite()) {
            Some(i) => Err(Error::not_finite(self.rows.place(from + i), "the loss", losses[i].sum)),
            None => Ok(losses),
        }
    }
}

impl Iterator for Losses<'_> {
    type Item = Result<Vec<SequenceLoss>>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.done < self.rows.sequences.len()).then(|| self.batch())
    }
}

/// What the losses of some rows come to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossSummary {
    /// The mean loss of all labels, in nats; its exponential is the perplexity.
    pub loss: f64,
    /// The share of labels that were the likeliest token.
    pub accuracy: f64,
    /// The number of labels.
    pub labels: usize,
}

impl LossSummary {
    /// Of the rows' own losses; every label counts the same.
    pub fn new(losses: &[SequenceLoss]) -> Self {
        let (labels, correct) = losses.iter().fold((0, 0), |(l, c), loss| (l + loss.labels, c + loss.correct));
        let sum = losses.iter().map(|loss| loss.sum).sum::<f64>();
        Self { loss: sum / labels as f64, accuracy: correct as f64 / labels as f64, labels }
    }

    /// The exponential of the loss.
    pub fn perplexity(&self) -> f64 {
        ft_kernels::math::exp(self.loss)
    }
}
