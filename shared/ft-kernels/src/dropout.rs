//! Dropout outside the fused operators: drawn on the host, or by a kernel where a GPU computes. The
//! factors are the same.

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

use crate::backend::{Backend, Compute};
use crate::cuda::{Grid, Launch, Output, parts, words};
use crate::linear::Dropout;
use crate::philox::{self, Stream, dropout_constants};
use crate::tensor::from_vec;

/// `x` `[tokens, columns]` times the factors of its sequences' streams; sequence `i` is the rows
/// `starts[i]..starts[i + 1]`. Candle can differentiate it but where a GPU's kernel computes it.
pub(crate) fn dropped(compute: Compute, x: &Tensor, dropout: &Dropout, starts: &[usize]) -> Result<Tensor> {
    dropout.check(starts)?;
    if compute.backend == Backend::Cuda {
        return by_kernel(x, dropout, starts);
    }
    let (isa, (tokens, cols)) = (compute.isa, x.dims2()?);
    let mut factors = vec![0.0; tokens * cols];
    for (stream, span) in dropout.streams.iter().zip(starts.windows(2)) {
        let rows = factors[span[0] * cols..span[1] * cols].par_chunks_mut(cols);
        rows.enumerate().for_each(|(t, row)| philox::dropout_scale(isa, stream, t, cols, dropout.p, row));
    }
    x * from_vec(factors, (tokens, cols))?.to_device(x.device())?.to_dtype(x.dtype())?
}

impl Dropout {
    /// Fails unless there is one stream a sequence: a sequence without one would have no mask.
    pub(crate) fn check(&self, starts: &[usize]) -> Result<()> {
        let (streams, sequences) = (self.streams.len(), starts.len().saturating_sub(1));
        if streams != sequences {
            candle_core::bail!("dropout: {streams} streams for {sequences} sequences; each needs one of its own");
        }
        Ok(())
    }
}

/// The factors of some rows of one sequence, `[rows, columns]`, on the host: of each the row of the sequence at its
/// position, whatever other rows are asked for.
///
/// # Errors
/// If candle has no room.
pub fn dropout_factors(
    compute: Compute,
    stream: &Stream,
    p: f64,
    positions: &[usize],
    columns: usize,
) -> Result<Tensor> {
    let isa = compute.isa;
    let mut factors = vec![0.0; positions.len() * columns];
    let rows = factors.par_chunks_mut(columns.max(1)).zip(positions);
    rows.for_each(|(row, &position)| philox::dropout_scale(isa, stream, position, columns, p, row));
    from_vec(factors, (positions.len(), columns))
}

/// By `kernels/dropout.cu`, which draws the same numbers.
fn by_kernel(x: &Tensor, dropout: &Dropout, starts: &[usize]) -> Result<Tensor> {
    /// Words that a thread makes, blocks of the stream that stand side by side, and threads of a block.
    const WORDS: usize = 4;
    const WIDTH: usize = 16;
    const THREADS: usize = 256;
    let (x, dtype, device) = (&x.contiguous()?, x.dtype(), x.device());
    let (_, columns) = x.dims2()?;
    let longest = starts.windows(2).map(|span| (span[1] - span[0]) * columns).max().unwrap_or(0);
    let streams: Vec<u32> = dropout.streams.iter().flat_map(Stream::words).collect();
    let starts: Vec<u32> = starts.iter().map(|&start| start as u32).collect();
    let (streams, starts) = (&words(&streams, device)?, &words(&starts, device)?);
    // SAFETY: the kernel writes every element of the sequences, and they are all that there is.
    let mut y = unsafe { Output::new(device, dtype, x.shape())? };
    let call = Launch::new("dropout", "dropout", dtype).read(x).write(&mut y);
    let call = call.read_as(starts, DType::U32).read_as(streams, DType::U32).int(columns);
    let (threshold, kept) = dropout_constants(dropout.p);
    let threads = parts(longest, WORDS * WIDTH) * WIDTH;
    // SAFETY: starts end with x's rows, and each sequence has a stream.
    unsafe { call.u32(threshold).f32(kept).run(Grid::plane(parts(threads, THREADS), dropout.streams.len(), THREADS))? };
    Ok(y.into_tensor())
}
