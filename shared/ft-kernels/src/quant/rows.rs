//! Eight bits an element and a scale a row: the weights of `LLM.int8()`.

use rayon::prelude::*;

use super::kernels::ExpandRow;
use crate::error::{Result, expect_shape};
use crate::simd::{Isa, dispatch};

/// A matrix as bitsandbytes' `Linear8bitLt` saves it: signed bytes, and for each row the magnitude that 127 stands for.
#[derive(Debug, Clone, PartialEq)]
pub struct ByteRows {
    codes: Vec<i8>,
    scales: Vec<f32>,
    columns: usize,
}

impl ByteRows {
    /// A matrix from its parts, with one scale a row.
    ///
    /// # Errors
    /// If there are not `columns` codes for each scale.
    pub fn from_parts(codes: Vec<i8>, scales: Vec<f32>, columns: usize) -> Result<Self> {
        let expected = scales.len() * columns;
        expect_shape(codes.len() == expected, "8-bit rows", "the codes", expected, codes.len())?;
        Ok(Self { codes, scales, columns })
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.codes.len()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    /// The bytes that codes and scales take.
    pub fn bytes(&self) -> usize {
        self.codes.len() + 4 * self.scales.len()
    }

    /// Writes the elements to `out`, with all threads.
    ///
    /// # Errors
    /// If `out` has another number of elements.
    pub fn expand(&self, out: &mut [f32]) -> Result<()> {
        expect_shape(out.len() == self.len(), "expanding 8-bit rows", "the output", self.len(), out.len())?;
        let columns = self.columns.max(1);
        out.par_chunks_mut(columns)
            .zip(self.codes.par_chunks(columns))
            .zip(&self.scales)
            .with_min_len((1 << 15) / columns + 1)
            .for_each(|((out, codes), &scale)| Self::expand_row(codes, scale, out));
        Ok(())
    }

    /// Writes one row, or a piece of it, on this thread.
    pub fn expand_row(codes: &[i8], scale: f32, out: &mut [f32]) {
        dispatch(Isa::best(), ExpandRow { codes, scale, out });
    }
}
