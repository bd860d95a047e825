//! Products where a GPU's kernels compute.
//!
//! On a GPU they are cuBLAS's. On the host's emulation a plain product stands for it that keeps the contract which the engine
//! needs of a GPU: both sides of one type, sums in f32 from the first element on, one rounding, and a row that does not know
//! its neighbours. Gradients of adapters come from a kernel of our own, `kernels/gradients.cu`, a sequence at a time.

use candle_core::{DType, Device, Result, Tensor};

use crate::backend::Isa;
use crate::cuda::{Grid, Launch, Output, parts, words};
use crate::gemm::{Mat, MatMut, Rhs, matmul};
use crate::tensor::{from_vec, unwritten, with_slices};

/// Columns of the wide side and of the thin one of a block, as the kernel has them.
const COLUMNS: usize = 128;
const ROWS: usize = 16;

/// `a·b` of two matrices of one type, of which `b` may be a transposed view; the result is of that type.
pub(super) fn times(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if !matches!(a.device(), Device::Cpu) {
        return a.matmul(b);
    }
    let ((m, k), (inner, n), dtype) = (a.dims2()?, b.dims2()?, a.dtype());
    if k != inner || b.dtype() != dtype {
        candle_core::bail!("a product of [{m}, {k}] {dtype:?} and [{inner}, {n}] {:?}", b.dtype());
    }
    let transposed = !b.is_contiguous();
    let b = if transposed { b.t()?.contiguous()? } else { b.clone() };
    let [a, b] = &[a.contiguous()?.to_dtype(DType::F32)?, b.to_dtype(DType::F32)?];
    // SAFETY: a product that is not added to what is there writes every element.
    let mut c = unsafe { unwritten(m * n) };
    with_slices([a, b], |[a, b]| {
        let b = if transposed { Mat::new(b, n, k).t() } else { Mat::new(b, k, n) };
        matmul(Isa::best(), Mat::new(a, m, k), Rhs::F32(b), &mut MatMut::new(&mut c, m, n), false);
    })?;
    from_vec(c, (m, n))?.to_dtype(dtype)
}

/// `dyᵀ·x` in f32: the gradient of a whole matrix.
pub(super) fn weight_gradient(dy: &Tensor, x: &Tensor) -> Result<Tensor> {
    if matches!(x.device(), Device::Cpu) {
        return Ok(row_products(dy, x, &[0, x.dim(0)?])?.remove(0));
    }
    dy.to_dtype(DType::F32)?.t()?.matmul(&x.to_dtype(DType::F32)?)
}

/// For each sequence `leftᵀ·right` of its rows, `[columns of left, columns of right]` in f32.
pub(super) fn row_products(left: &Tensor, right: &Tensor, starts: &[usize]) -> Result<Vec<Tensor>> {
    let (left, right, sequences) = (left.contiguous()?, right.contiguous()?, starts.len() - 1);
    let (m, n) = (left.dim(1)?, right.dim(1)?);
    // A thread has a column of the wide side.
    let transposed = m > n;
    let (thin, wide) = if transposed { (&right, &left) } else { (&left, &right) };
    let starts: Vec<u32> = starts.iter().map(|&start| start as u32).collect();
    let starts = &words(&starts, left.device())?;
    // SAFETY: the kernel writes the whole matrix of every sequence.
    let mut all = unsafe { Output::new(left.device(), DType::F32, (sequences, m, n))? };
    let call = Launch::new("gradients", "row_products", left.dtype()).read(thin).read(wide);
    let call = call.read_as(starts, DType::U32).write(&mut all).int(m.min(n)).int(m.max(n)).int(transposed.into());
    let blocks = [parts(m.max(n), COLUMNS), parts(m.min(n), ROWS), sequences];
    // SAFETY: both have the rows that starts end with, as the layer's caller has them.
    unsafe { call.run(Grid { blocks, threads: COLUMNS, shared: 0 })? };
    let all = all.into_tensor();
    (0..sequences).map(|sequence| all.get(sequence)).collect()
}
