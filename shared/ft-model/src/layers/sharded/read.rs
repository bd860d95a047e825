//! A rank's own bytes of some matrices, straight from the checkpoint.

use std::ops::Range;

use bytemuck::Pod;
use candle_core::DType;
use half::{bf16, f16};

use super::form::{MatrixForm, PartForm, PartKind};
use super::own::{Own, Shard, shares};
use crate::checkpoint::{Checkpoint, Element};
use crate::error::{Error, Result};
use crate::layers::matrices::{is_transposed, joined_shape, transpose};
use crate::layers::packed::Packed;
use crate::layers::weight_format::{PackedFormat, WeightFormat};

/// Reads one rank's part.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub checkpoint: &'a Checkpoint,
    pub format: WeightFormat,
    pub rank: usize,
    pub world: usize,
}

impl Reader<'_> {
    /// A matrix of which nothing is read yet.
    pub fn names(&self, names: &[String]) -> Result<MatrixForm> {
        Ok(MatrixForm { names: names.to_vec(), parts: Vec::new(), shape: joined_shape(self.checkpoint, names)? })
    }

    /// Reads this rank's run of the bytes of matrices that are laid end to end.
    pub fn read(&self, matrices: &[&MatrixForm]) -> Result<(Shard, Vec<MatrixForm>)> {
        match self.format {
            WeightFormat::Float(dtype) => self.read_floats(matrices, dtype),
            WeightFormat::Packed(bits) => self.read_packed(matrices, bits),
        }
    }

    /// Of floats no more is read than the rows that the run touches.
    fn read_floats(&self, matrices: &[&MatrixForm], dtype: DType) -> Result<(Shard, Vec<MatrixForm>)> {
        let size = dtype.size_in_bytes();
        let mut forms = Vec::new();
        let mut all = 0;
        for matrix in matrices {
            let mut form = MatrixForm { names: matrix.names.clone(), parts: Vec::new(), shape: matrix.shape.clone() };
            for name in &matrix.names {
                let bytes = self.checkpoint.stored(name)?.elements() * size;
                form.parts.push(PartForm { kind: PartKind::Float(dtype), bytes });
                all += bytes;
            }
            forms.push(form);
        }
        let (run, counts) = self.run(all);
        let mut own = Vec::with_capacity(run.len());
        let mut start = 0;
        for form in &mut forms {
            for (name, part) in std::mem::take(&mut form.names).iter().zip(&form.parts) {
                let inside = overlap(&run, start, part.bytes);
                if !inside.is_empty() {
                    let elements = inside.start / size..inside.end / size;
                    match dtype {
                        DType::F32 => self.extend::<f32>(name, elements, &mut own)?,
                        DType::BF16 => self.extend::<bf16>(name, elements, &mut own)?,
                        DType::F16 => self.extend::<f16>(name, elements, &mut own)?,
                        other => return Err(Error::FrozenType(other)),
                    }
                }
                start += part.bytes;
            }
        }
        Ok((Shard { own: Own::Memory(own.into()), counts }, forms))
    }

    /// Appends some elements of a tensor.
    fn extend<T: Element + Pod>(&self, name: &str, elements: Range<usize>, own: &mut Vec<u8>) -> Result<()> {
        let stored = self.checkpoint.stored(name)?;
        let (columns, rows) = (stored.columns().max(1), stored.rows());
        if is_transposed(self.checkpoint.architecture(), name) {
            let mut values = vec![T::zeroed(); stored.elements()];
            stored.read_all(&mut values)?;
            transpose(&mut values, columns);
            own.extend_from_slice(bytemuck::cast_slice(&values[elements]));
            return Ok(());
        }
        let granule = stored.granule();
        let first = elements.start / columns / granule * granule;
        let last = elements.end.div_ceil(columns).next_multiple_of(granule).min(rows);
        let mut values = vec![T::zeroed(); (last - first) * columns];
        let (step, at_once) = (stored.rows_for(1 << 20), columns);
        for (i, part) in values.chunks_mut(step * at_once).enumerate() {
            stored.read_rows(first + i * step, part)?;
        }
        let skipped = first * columns;
        own.extend_from_slice(bytemuck::cast_slice(&values[elements.start - skipped..elements.end - skipped]));
        Ok(())
    }

    /// Packing asks for whole tensors: each is read, packed and cut in its turn.
    fn read_packed(&self, matrices: &[&MatrixForm], bits: PackedFormat) -> Result<(Shard, Vec<MatrixForm>)> {
        let mut forms = Vec::new();
        let mut all: Vec<u8> = Vec::new();
        for matrix in matrices {
            let mut form = MatrixForm { names: Vec::new(), parts: Vec::new(), shape: matrix.shape.clone() };
            for name in &matrix.names {
                let (rest, bytes) = Packed::read(self.checkpoint, name, bits)?.take_apart()?;
                form.parts.push(PartForm { kind: PartKind::Packed(rest), bytes: bytes.len() });
                all.extend(bytes);
            }
            forms.push(form);
        }
        let (run, counts) = self.run(all.len());
        Ok((Shard { own: Own::Memory(all[run].into()), counts }, forms))
    }

    /// This rank's run of so many bytes, and the length of each rank's.
    fn run(&self, bytes: usize) -> (Range<usize>, Vec<usize>) {
        let shares = shares(bytes, self.world);
        (shares[self.rank].clone(), shares.iter().map(Range::len).collect())
    }
}

/// Where in a part of `len` bytes from `start` on a run lies.
fn overlap(run: &Range<usize>, start: usize, len: usize) -> Range<usize> {
    let inside = |at: usize| at.clamp(start, start + len) - start;
    inside(run.start)..inside(run.end)
}
