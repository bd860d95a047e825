//! The loss on rows that are not trained on.

use anyhow::Result;
use ft_model::batch::{Batch, Sequence};
use ft_model::decoder::Decoder;

/// What an evaluation found.
pub struct Evaluation {
    /// Mean loss a label, in nats.
    pub loss: f64,
    /// Share of labels that were the likeliest token.
    pub accuracy: f64,
}

/// Runs all the sequences, `batch_size` at a time; the loss is one mean over all their labels.
pub fn evaluate(decoder: &Decoder<'_>, sequences: &[Sequence], batch_size: usize) -> Result<Evaluation> {
    let bar = ft_cli::progress(Some(sequences.len() as u64), "evaluating");
    let (mut sum, mut labels, mut correct) = (0.0, 0, 0);
    for some in sequences.chunks(batch_size) {
        ft_cli::interrupt::check()?;
        for loss in decoder.losses(&Batch::new(some))? {
            sum += loss.sum;
            labels += loss.labels;
            correct += loss.correct;
        }
        bar.inc(some.len() as u64);
    }
    bar.finish();
    let labels = f64::from(u32::try_from(labels)?);
    Ok(Evaluation { loss: sum / labels, accuracy: correct as f64 / labels })
}
