//! The end of the model: final norm, vocabulary, loss.
//!
//! Hidden states of positions without a label never reach the vocabulary; the rest go through it in
//! chunks, each chunk's loss and gradient taken at once, so that `[rows, vocabulary]` exists for one
//! chunk only.

use candle_core::Tensor;
use ft_kernels::linear::product;
use ft_kernels::loss::{LogitShape, RowLosses, cross_entropy, cross_entropy_forward};
use ft_kernels::norm::{rms_norm, rms_norm_backward};

use crate::batch::Batch;
use crate::error::Result;
use crate::layers::LayerSource;

/// Rows that go through the vocabulary at a time.
const CHUNK: usize = 256;

/// Of one sequence: the sum of its labels' losses, how many there are, and how many were the likeliest token.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SequenceLoss {
    /// In nats.
    pub sum: f64,
    pub labels: usize,
    pub correct: usize,
}

/// The model's end.
pub struct Head<'a> {
    pub source: &'a dyn LayerSource,
    pub eps: f64,
}

impl Head<'_> {
    /// The logits of the rows `rows` of `x` (`[tokens, hidden]`, before the final norm): `[rows, vocabulary]`.
    ///
    /// # Errors
    /// If an operator fails.
    pub fn logits(&self, x: &Tensor, rows: &[u32]) -> Result<Tensor> {
        let normed = rms_norm(&pick(x, rows)?, &self.source.final_norm()?, self.eps)?;
        Ok(product(&normed, &self.source.head()?, false)?)
    }

    /// The losses of the batch's sequences.
    ///
    /// # Errors
    /// If an operator fails, or a label lies outside the vocabulary.
    pub fn losses(&self, x: &Tensor, batch: &Batch) -> Result<Vec<SequenceLoss>> {
        let mut losses = vec![SequenceLoss::default(); batch.sequences()];
        for from in (0..batch.rows.len()).step_by(CHUNK) {
            let chunk = from..(from + CHUNK).min(batch.rows.len());
            let logits = self.logits(x, &batch.rows[chunk.clone()])?;
            let rows = cross_entropy_forward(&logits, &batch.targets[chunk.clone()], LogitShape::default())?;
            add(&mut losses, &rows, &batch.owners[chunk]);
        }
        Ok(losses)
    }

    /// The negative log-likelihood of each labelled row of the batch, in nats, in the rows' order.
    ///
    /// # Errors
    /// As [`Self::losses`].
    pub fn row_losses(&self, x: &Tensor, batch: &Batch) -> Result<RowLosses> {
        let mut all = RowLosses { nll: Vec::new(), correct: Vec::new() };
        for (rows, targets) in batch.rows.chunks(CHUNK).zip(batch.targets.chunks(CHUNK)) {
            let found = cross_entropy_forward(&self.logits(x, rows)?, targets, LogitShape::default())?;
            all.nll.extend(found.nll);
            all.correct.extend(found.correct);
        }
        Ok(all)
    }

    /// The losses of the batch's sequences, and the gradient of `x` of their sum over `normaliser`.
    ///
    /// # Errors
    /// As [`Self::losses`].
    pub fn losses_and_gradient(
        &self,
        x: &Tensor,
        batch: &Batch,
        normaliser: f64,
    ) -> Result<(Vec<SequenceLoss>, Tensor)> {
        let norm = self.source.final_norm()?;
        let weight = self.source.head()?;
        let mut losses = vec![SequenceLoss::default(); batch.sequences()];
        let mut gradients = Vec::new();
        for from in (0..batch.rows.len()).step_by(CHUNK) {
            let chunk = from..(from + CHUNK).min(batch.rows.len());
            let picked = pick(x, &batch.rows[chunk.clone()])?;
            let normed = rms_norm(&picked, &norm, self.eps)?;
            let logits = product(&normed, &weight, false)?;
            let (targets, scale) = (&batch.targets[chunk.clone()], (1.0 / normaliser) as f32);
            let (rows, dlogits) = cross_entropy(logits, targets, scale, LogitShape::default())?;
            add(&mut losses, &rows, &batch.owners[chunk]);
            let dnormed = product(&dlogits, &weight, true)?;
            gradients.push(rms_norm_backward(&dnormed, &picked, &norm, self.eps)?);
        }
        let mut dx = x.zeros_like()?;
        if !gradients.is_empty() {
            let rows = Tensor::new(batch.rows.as_slice(), x.device())?;
            dx = dx.index_add(&rows, &Tensor::cat(&gradients, 0)?, 0)?;
        }
        Ok((losses, dx))
    }
}

/// The rows `rows` of `x`.
fn pick(x: &Tensor, rows: &[u32]) -> Result<Tensor> {
    Ok(x.index_select(&Tensor::new(rows, x.device())?, 0)?)
}

/// Adds each row's loss to its sequence's, in the rows' order.
fn add(losses: &mut [SequenceLoss], rows: &RowLosses, owners: &[usize]) {
    for ((nll, correct), owner) in rows.nll.iter().zip(&rows.correct).zip(owners) {
        let loss = &mut losses[*owner];
        loss.sum += f64::from(*nll);
        loss.labels += 1;
        loss.correct += usize::from(*correct);
    }
}
