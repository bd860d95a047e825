//! The sums by a kernel of our own, `kernels/rows.cu`, in f32 whatever the rows are: they are gradients.

use candle_core::{DType, Tensor};

use crate::cuda::{Grid, Launch, Output, parts, words};
use crate::error::Result;

/// Columns of a block, a thread each.
const COLUMNS: usize = 128;

/// See [`super::sum_rows`].
pub fn sum_rows(dy: &Tensor, starts: &[usize]) -> Result<Vec<Tensor>> {
    let (dy, sequences) = (&dy.contiguous()?, starts.len() - 1);
    let ((_, columns), device) = (dy.dims2()?, dy.device());
    let starts: Vec<u32> = starts.iter().map(|&start| start as u32).collect();
    let starts = &words(&starts, device)?;
    // SAFETY: the kernel writes every column of every sequence.
    let mut sums = unsafe { Output::new(device, DType::F32, (sequences, columns))? };
    let call = Launch::new("rows", "sum_rows", dy.dtype()).read(dy).read_as(starts, DType::U32).write(&mut sums);
    // SAFETY: the operator has checked that starts end with dy's rows.
    unsafe { call.int(columns).run(Grid::plane(parts(columns, COLUMNS), sequences, COLUMNS))? };
    let sums = sums.into_tensor();
    (0..sequences).map(|sequence| Ok(sums.get(sequence)?)).collect()
}
