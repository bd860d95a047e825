//! Where a number that is not finite comes from: the step is taken once more, row by row.

use candle_core::Tensor;
use ft_kernels::tensor::{on_host, with_slice};
use ft_model::batch::{Batch, Sequence};
use ft_model::decoder::{Decoder, StepOptions};
use ft_model::lora::Adapter;
use ft_model::step::Step;
use ft_model::trainable::TrainableId;

use crate::data::dataset::Dataset;

/// Says which micro-batch and which row of the file, counted from 1, are the first whose loss or gradient is not finite; nothing
/// where each by itself is (their sum overflows then).
pub fn locate(step: &Step<'_>, adapter: &Adapter, micro_batches: &[Vec<usize>], data: &Dataset) -> Option<String> {
    let rows = &data.sequences;
    let labels: usize = micro_batches.iter().flatten().map(|&row| rows[row].labelled()).sum();
    let mut first_sequence = 0;
    for (number, micro_batch) in micro_batches.iter().enumerate() {
        let sequences: Vec<&Sequence> = micro_batch.iter().map(|&row| &rows[row]).collect();
        let mut first = 0;
        for piece in step.cut(&sequences) {
            let options = StepOptions {
                normaliser: labels as f64,
                activation_memory: step.activation_memory,
                dropout: step.dropout,
                neftune: step.neftune,
                first_sequence,
            };
            if let Some((sequence, what)) = first_fault(step, adapter, &piece, &options) {
                let row = data.place(micro_batch[first + sequence]);
                return Some(format!("micro-batch {}, {row}: {what}", number + 1));
            }
            let taken = piece.starts.len() - 1;
            first += taken;
            first_sequence += taken;
        }
    }
    None
}

/// The micro-batch and the row of the file, counted from 1, of a step's sequence whose loss is not finite.
pub fn place(sequence: usize, micro_batches: &[Vec<usize>], data: &Dataset) -> Option<String> {
    let mut first = 0;
    for (number, rows) in micro_batches.iter().enumerate() {
        if let Some(row) = rows.get(sequence - first) {
            return Some(format!("micro-batch {}, {}: its loss is not finite", number + 1, data.place(*row)));
        }
        first += rows.len();
    }
    None
}

/// The first sequence of a piece with a fault, and what it is.
fn first_fault(step: &Step<'_>, adapter: &Adapter, piece: &Batch, options: &StepOptions) -> Option<(usize, String)> {
    let placed = adapter.on(step.source.device()).ok()?;
    let decoder = Decoder { compute: step.compute, arch: step.arch, source: step.source, adapter: Some(&placed) };
    let mut gradient: Option<(usize, TrainableId)> = None;
    let losses = decoder.losses_and_gradients(piece, options, &mut |found| {
        let sequence = found.sequence - options.first_sequence;
        if !is_finite(&found.tensor) && gradient.is_none_or(|(other, _)| sequence < other) {
            gradient = Some((sequence, found.id));
        }
        Ok(())
    });
    let told = |id| format!("the gradient of '{}' is not finite", adapter.trainables().name(id));
    let loss = losses.ok()?.iter().position(|loss| !loss.sum.is_finite());
    match (loss, gradient) {
        (Some(at), Some((sequence, tensor))) if sequence < at => Some((sequence, told(tensor))),
        (Some(at), _) => Some((at, "its loss is not finite".into())),
        (None, Some((sequence, tensor))) => Some((sequence, told(tensor))),
        (None, None) => None,
    }
}

fn is_finite(tensor: &Tensor) -> bool {
    let finite = |tensor: Tensor| with_slice(&tensor, |values| values.iter().all(|x| x.is_finite()));
    on_host(tensor).and_then(finite).unwrap_or(true)
}
