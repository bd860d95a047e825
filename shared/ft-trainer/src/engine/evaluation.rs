//! The loss on rows that are not trained on.

use ft_model::batch::Sequence;
use ft_model::head::SequenceLoss;
use ft_model::lora::Adapter;
use ft_model::step::Step;

use ft_io::progress::Progress;

use crate::error::{Error, Result};

/// The keys of an evaluation's log entry, any of which may say what is best.
pub const EVALUATION_KEYS: [&str; 5] =
    ["eval_loss", "eval_mean_token_accuracy", "eval_runtime", "eval_samples_per_second", "eval_steps_per_second"];

/// What an evaluation found.
pub struct Evaluation {
    /// Mean loss a label, in nats.
    pub loss: f64,
    /// Share of labels that were the likeliest token.
    pub accuracy: f64,
}

/// Runs all the sequences, each rank its share of them and `batch_size` at a time, cut to the memory that `step` has;
/// the loss is one mean over all their labels, added in the sequences' order whoever has them.
///
/// # Errors
/// If the loss is not finite, another rank fails, or a signal came: [`ft_io::Interrupted`].
pub fn evaluate(
    step: &Step<'_>,
    adapter: &Adapter,
    sequences: &[Sequence],
    batch_size: usize,
    progress: &dyn Progress,
) -> Result<Evaluation> {
    let bar = progress.begin("evaluating", sequences.len() as u64);
    let shares = ft_dist::shares(sequences.len(), step.ranks.world());
    let longest = shares.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
    let mut losses = vec![SequenceLoss::default(); sequences.len()];
    for from in (0..longest).step_by(batch_size) {
        if ft_dist::any(step.ranks, ft_io::interrupt::requested())? {
            return Err(ft_io::Interrupted.into());
        }
        // The sequences of this round, rank by rank.
        let of = |rank: usize| {
            let share = shares[rank].clone();
            let at = |offset: usize| (share.start + offset).min(share.end);
            at(from)..at(from + batch_size)
        };
        let own: Vec<&Sequence> = sequences[of(step.ranks.rank())].iter().collect();
        let pieces = if own.is_empty() { Vec::new() } else { step.cut(&own) };
        let found = step.losses(Some(adapter), &pieces)?;
        let places = (0..shares.len()).flat_map(of);
        for (place, loss) in places.zip(found) {
            losses[place] = loss;
            bar.advance(1);
        }
    }
    drop(bar);
    mean(&losses)
}

fn mean(losses: &[SequenceLoss]) -> Result<Evaluation> {
    let (mut sum, mut labels, mut correct) = (0.0, 0, 0);
    for loss in losses {
        sum += loss.sum;
        labels += loss.labels;
        correct += loss.correct;
    }
    let labels = labels as f64;
    let loss = sum / labels;
    if !loss.is_finite() {
        return Err(Error::Metric(format!(
            "the evaluation's loss is {loss}, expected a finite number; lower the learning rate"
        )));
    }
    Ok(Evaluation { loss, accuracy: correct as f64 / labels })
}
