//! A product's packed projections as one matrix whose rows can be expanded.

use candle_core::{DType, Device, Tensor};
use ft_kernels::backend::Isa;
use ft_kernels::linear::RowSource;
use ft_kernels::quant::{BlockRows, Blocks, GgufBlocks, Run, expand_rows};

use super::packed::Packed;
use crate::error::Result;

/// Packed matrices of one width, laid below each other.
#[derive(Debug)]
pub(super) struct PackedMatrix {
    parts: Vec<Packed>,
    /// Of each part its first row, and the number of all rows last.
    starts: Vec<usize>,
    columns: usize,
    granule: usize,
    /// Whether all parts lie in blocks that products read.
    in_blocks: bool,
}

impl PackedMatrix {
    /// `columns` is the width of all parts.
    pub fn new(parts: Vec<Packed>, columns: usize) -> Self {
        let mut starts = vec![0];
        let mut granule = 1;
        for part in &parts {
            starts.push(starts[starts.len() - 1] + part.len() / columns.max(1));
            granule = common_multiple(granule, part.granule(columns));
        }
        let in_blocks = parts.iter().all(|part| part.len() == 0 || part.run(0, columns).is_some());
        Self { parts, starts, columns, granule: if in_blocks { 1 } else { granule }, in_blocks }
    }

    /// Writes those rows of part number `i` that lie in the rows of all from `first` on.
    fn expand_of(&self, i: usize, first: usize, out: &mut [f32]) -> Result<()> {
        let columns = self.columns;
        let (start, end) = (self.starts[i], self.starts[i + 1]);
        let (from, to) = (first.max(start), (first + out.len() / columns).min(end));
        if from >= to {
            return Ok(());
        }
        let out = &mut out[(from - first) * columns..(to - first) * columns];
        let granule = self.parts[i].granule(columns);
        let (from, to) = (from - start, to - start);
        let (lower, upper) = (from / granule * granule, to.next_multiple_of(granule).min(end - start));
        if (lower, upper) == (from, to) {
            return self.parts[i].expand_rows(from, columns, out);
        }
        let mut all = vec![0.0; (upper - lower) * columns];
        self.parts[i].expand_rows(lower, columns, &mut all)?;
        out.copy_from_slice(&all[(from - lower) * columns..][..out.len()]);
        Ok(())
    }
}

impl RowSource for PackedMatrix {
    fn rows(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    fn columns(&self) -> usize {
        self.columns
    }

    fn granule(&self) -> usize {
        self.granule
    }

    fn bytes(&self) -> usize {
        self.parts.iter().map(Packed::bytes).sum()
    }

    fn in_blocks(&self) -> Option<&dyn BlockRows> {
        if self.in_blocks { Some(self) } else { None }
    }

    fn expand(&self, isa: Isa, first: usize, out: &mut [f32]) -> candle_core::Result<()> {
        let last = first + out.len() / self.columns.max(1);
        if self.in_blocks {
            expand_rows(self, isa, (first, last - first), (0, self.columns), out, self.columns);
            return Ok(());
        }
        let parts = self.starts.partition_point(|&start| start <= first).saturating_sub(1)..self.parts.len();
        for i in parts.take_while(|&i| self.starts[i] < last) {
            self.expand_of(i, first, out).map_err(candle_core::Error::wrap)?;
        }
        Ok(())
    }

    fn expand_on(
        &self,
        device: &Device,
        dtype: DType,
        first: usize,
        count: usize,
    ) -> candle_core::Result<Option<Tensor>> {
        let mut rows = Vec::new();
        for (part, span) in self.parts.iter().zip(self.starts.windows(2)) {
            let (from, to) = (first.max(span[0]), (first + count).min(span[1]));
            if from >= to {
                continue;
            }
            let Some(copy) = part.placed(device)? else { return Ok(None) };
            rows.push(copy.rows(dtype, self.columns, from - span[0], to - from)?);
        }
        Ok(match rows.len() {
            0 => None,
            1 => rows.pop(),
            _ => Some(Tensor::cat(&rows, 0)?),
        })
    }
}

/// A run of nothing.
const NOTHING: Run<'static> = Run { blocks: Blocks::Gguf(GgufBlocks::F32(&[])), start: 0, stride: 0, count: 1 };

impl BlockRows for PackedMatrix {
    fn run(&self, row: usize) -> Run<'_> {
        // The last part that begins there or before: empty ones before it have no row.
        let part = self.starts.partition_point(|&start| start <= row) - 1;
        // `in_blocks` says that there is one.
        self.parts[part].run(row - self.starts[part], self.columns).unwrap_or(NOTHING)
    }
}

/// The least number that both divide.
fn common_multiple(x: usize, y: usize) -> usize {
    let (mut a, mut b) = (x, y);
    while b > 0 {
        (a, b) = (b, a % b);
    }
    x / a.max(1) * y
}
