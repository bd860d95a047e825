//! Dropout outside the fused operators: drawn on the host, or by a kernel where a GPU computes. The
//! factors are the same.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use crate::backend::Compute;
use crate::linear::Dropout;
use crate::philox::{self, Stream};
use crate::tensor::from_vec;

/// `x` `[tokens, columns]` times the factors of its sequences' streams; sequence `i` is the rows
/// `starts[i]..starts[i + 1]`. Candle can differentiate it but where a GPU's kernel computes it.
pub(crate) fn dropped(compute: Compute, x: &Tensor, dropout: &Dropout, starts: &[usize]) -> Result<Tensor> {
    dropout.check(starts)?;
    #[cfg(feature = "cuda")]
    if compute.is_on_gpu() && x.dtype() == candle_core::DType::F32 {
        return x.contiguous()?.apply_op1_no_bwd(&on_gpu::Kernel { dropout, starts });
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

#[cfg(feature = "cuda")]
mod on_gpu {
    use candle_core::backend::BackendStorage;
    use candle_core::cuda::cudarc::driver::{LaunchConfig, PushKernelArg};
    use candle_core::cuda::{CudaStorage, WrapErr};
    use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape};

    use crate::linear::Dropout;
    use crate::philox::dropout_constants;

    /// What build.rs made of `kernels/dropout.cu`.
    const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/dropout.ptx"));
    /// Words that a thread makes, threads of a block, and blocks of the stream that stand side by side.
    const WORDS: usize = 4;
    const THREADS: u32 = 256;
    const WIDTH: usize = 16;

    pub struct Kernel<'a> {
        pub dropout: &'a Dropout,
        pub starts: &'a [usize],
    }

    impl CustomOp1 for Kernel<'_> {
        fn name(&self) -> &'static str {
            "dropout"
        }

        fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
            candle_core::bail!("the kernel of dropout runs on a GPU")
        }

        fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
            let (_, columns) = layout.shape().dims2()?;
            let Some((from, to)) = layout.contiguous_offsets() else {
                candle_core::bail!("dropout needs a contiguous tensor")
            };
            let device = storage.device();
            let x = storage.as_cuda_slice::<f32>()?.slice(from..to);
            // SAFETY: the kernel writes every element of the sequences, and they are all that there is.
            let mut y = unsafe { device.alloc::<f32>(to - from)? };
            let kernel = device.get_or_load_custom_func("ft_dropout", "ft_dropout", PTX)?;
            let (threshold, kept) = dropout_constants(self.dropout.p);
            for (stream, span) in self.dropout.streams.iter().zip(self.starts.windows(2)) {
                let (first, last) = (span[0] * columns, span[1] * columns);
                if first == last {
                    continue;
                }
                let len = (last - first) as u64;
                let threads = (last - first).div_ceil(WORDS * WIDTH) * WIDTH;
                let ([key0, key1], [nonce0, nonce1]) = stream.parts();
                let (x, mut y) = (x.slice(first..last), y.slice_mut(first..last));
                let mut call = kernel.builder();
                call.arg(&x).arg(&mut y).arg(&len).arg(&key0).arg(&key1).arg(&nonce0).arg(&nonce1);
                call.arg(&threshold).arg(&kept);
                let shape = LaunchConfig {
                    grid_dim: ((threads as u32).div_ceil(THREADS), 1, 1),
                    block_dim: (THREADS, 1, 1),
                    shared_mem_bytes: 0,
                };
                // SAFETY: these are the kernel's arguments, and it stays within the slices' `len` elements.
                unsafe { call.launch(shape) }.w()?;
            }
            Ok((CudaStorage::wrap_cuda_slice(y, device.clone()), layout.shape().clone()))
        }
    }
}
