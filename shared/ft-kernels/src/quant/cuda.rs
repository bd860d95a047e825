//! Matrices in few bits that lie on a device, and the kernels of `kernels/expand.cu` that make numbers of some of their rows.

use candle_core::{DType, Device, Tensor};

use super::{EightBit, FourBit, Scales};
use crate::cuda::{Grid, Launch, Output, parts};
use crate::error::{Result, expect_shape};

/// Elements of a block, as the kernels have it.
const PART: usize = 4096;

/// A matrix's codes and scales on a device.
#[derive(Debug)]
pub struct Placed {
    codes: Tensor,
    len: usize,
    /// For four bits the blocks' scales, what the codes stand for, and the elements of a block.
    four: Option<(Tensor, Tensor, usize)>,
}

impl Placed {
    /// A copy of a matrix in four bits, its scales in f32.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn four(matrix: &FourBit, device: &Device) -> Result<Self> {
        let scales = Scales::from(matrix.absmax());
        let scales: Vec<f32> = (0..scales.len()).map(|i| scales.of(i)).collect();
        let scales = Tensor::from_slice(&scales, scales.len(), device)?;
        let table = Tensor::from_slice(matrix.kind().table(), 16, device)?;
        let four = Some((scales, table, matrix.block()));
        Ok(Self { codes: bytes(matrix.packed(), device)?, len: matrix.len(), four })
    }

    /// A copy of a matrix in eight bits.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn eight(matrix: &EightBit, device: &Device) -> Result<Self> {
        Ok(Self { codes: bytes(matrix.as_bytes(), device)?, len: matrix.len(), four: None })
    }

    /// Where it lies.
    pub fn device(&self) -> &Device {
        self.codes.device()
    }

    /// `count` rows of `columns` elements from row `first` on, `[count, columns]`.
    ///
    /// # Errors
    /// If there are fewer, or the type is none that kernels write.
    pub fn rows(&self, dtype: DType, columns: usize, first: usize, count: usize) -> Result<Tensor> {
        let (start, len) = (first * columns, count * columns);
        expect_shape(start + len <= self.len, "expanding on a device", "the elements", start + len, self.len)?;
        // SAFETY: the kernels write every element.
        let mut out = unsafe { Output::new(self.device(), dtype, (count, columns))? };
        let call = match &self.four {
            Some((scales, table, _)) => {
                let call = Launch::new("expand", "expand_four", dtype).read_as(&self.codes, DType::U8);
                call.read_as(scales, DType::F32).read_as(table, DType::F32)
            }
            None => Launch::new("expand", "expand_eight", dtype).read_as(&self.codes, DType::U8),
        };
        let call = call.write(&mut out).u64(start).u64(len);
        let call = self.four.iter().fold(call, |call, (_, _, block)| call.int(*block));
        // SAFETY: the elements are the matrix's, and its codes and scales are of all of them.
        unsafe { call.run(Grid::line(parts(len, PART), 256))? };
        Ok(out.into_tensor())
    }
}

fn bytes(values: &[u8], device: &Device) -> Result<Tensor> {
    Ok(Tensor::from_slice(values, values.len(), device)?)
}
