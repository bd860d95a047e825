//! The loss on rows that are not trained on.

use anyhow::{Result, bail};
use ft_model::batch::Sequence;
use ft_model::decoder::Decoder;
use ft_model::step::Step;

/// What an evaluation found.
pub struct Evaluation {
    /// Mean loss a label, in nats.
    pub loss: f64,
    /// Share of labels that were the likeliest token.
    pub accuracy: f64,
}

/// Runs all the sequences, `batch_size` at a time, cut to the memory that `step` has; the loss is one mean over all
/// their labels.
pub fn evaluate(
    decoder: &Decoder<'_>,
    step: &Step<'_>,
    sequences: &[Sequence],
    batch_size: usize,
) -> Result<Evaluation> {
    let bar = ft_cli::progress(Some(sequences.len() as u64), "evaluating");
    let (mut sum, mut labels, mut correct) = (0.0, 0, 0);
    for some in sequences.chunks(batch_size) {
        for piece in step.cut(&some.iter().collect::<Vec<_>>()) {
            ft_cli::interrupt::check()?;
            for loss in decoder.losses(&piece)? {
                sum += loss.sum;
                labels += loss.labels;
                correct += loss.correct;
            }
        }
        bar.inc(some.len() as u64);
    }
    bar.finish();
    let labels = f64::from(u32::try_from(labels)?);
    let loss = sum / labels;
    if !loss.is_finite() {
        bail!("the evaluation's loss is {loss}, expected a finite number; lower the learning rate");
    }
    Ok(Evaluation { loss, accuracy: correct as f64 / labels })
}
