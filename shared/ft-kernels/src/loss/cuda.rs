//! The loss by kernels of our own, `kernels/loss.cu`: a block a row, the gradient in the logits' place.

use candle_core::{DType, Tensor};

use super::{LogitShape, RowLosses};
use crate::cuda::{Grid, Launch, Output, block_of, words};
use crate::error::Result;

/// The most threads of a block: rows are long.
const THREADS: usize = 1024;

/// See [`super::cross_entropy`].
pub fn cross_entropy(logits: &Tensor, targets: &[u32], scale: f32, shape: LogitShape) -> Result<(RowLosses, Tensor)> {
    let logits = logits.contiguous()?;
    let losses = run(&logits, targets, Some(scale), shape)?;
    Ok((losses, logits))
}

/// See [`super::cross_entropy_forward`].
pub fn cross_entropy_forward(logits: &Tensor, targets: &[u32], shape: LogitShape) -> Result<RowLosses> {
    run(&logits.contiguous()?, targets, None, shape)
}

/// The losses; with a scale the logits become their gradient.
fn run(logits: &Tensor, targets: &[u32], scale: Option<f32>, shape: LogitShape) -> Result<RowLosses> {
    let ((rows, columns), dtype, device) = (logits.dims2()?, logits.dtype(), logits.device());
    let targets = &words(targets, device)?;
    // SAFETY: the kernel writes one number of each a row.
    let (mut nll, mut correct) =
        unsafe { (Output::new(device, DType::F32, rows)?, Output::new(device, DType::U32, rows)?) };
    let call = match scale {
        Some(_) => Launch::new("loss", "cross_entropy", dtype).change(logits),
        None => Launch::new("loss", "row_losses", dtype).read(logits),
    };
    let call = call.read_as(targets, DType::U32).write(&mut nll).write(&mut correct).int(columns);
    let call = scale.into_iter().fold(call, Launch::f32);
    let call = call.f32(shape.scale).f32(shape.softcap.unwrap_or(0.0));
    // SAFETY: a block has one row of `columns` and one target, which the operator has found to be one of them.
    unsafe { call.run(Grid::line(rows, block_of(columns, dtype, THREADS)))? };
    let correct = correct.into_tensor().to_vec1::<u32>()?.into_iter().map(|c| c == 1).collect();
    Ok(RowLosses { nll: nll.into_tensor().to_vec1()?, correct })
}

/// See [`super::shape_logits`].
pub fn shape_logits(logits: &Tensor, shape: LogitShape) -> Result<Tensor> {
    let logits = logits.contiguous()?;
    let ((rows, columns), dtype) = (logits.dims2()?, logits.dtype());
    let call = Launch::new("loss", "shape_logits", dtype).change(&logits).int(columns);
    let call = call.f32(shape.scale).f32(shape.softcap.unwrap_or(0.0));
    // SAFETY: a block has one row of `columns`.
    unsafe { call.run(Grid::line(rows, block_of(columns, dtype, THREADS)))? };
    Ok(logits)
}
