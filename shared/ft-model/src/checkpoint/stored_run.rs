//! A tensor's rows where they lie in memory, for products that read codes there.

use candle_core::quantized::GgmlDType;
use ft_kernels::quant::{Blocks, Run};

use super::stored::{Format, RowOrder, Stored};

impl Stored {
    /// Row `row` and those after it that lie evenly apart, where they are codes or floats in memory, in rows.
    pub fn run(&self, row: usize) -> Option<Run<'_>> {
        let blocks = self.blocks()?;
        let (place, apart, count) = match self.order {
            RowOrder::Plain => (row, 1, self.rows() - row),
            RowOrder::ByPart(head) => (self.place(row), 1, head - row % head),
            RowOrder::Interleaved(head) => {
                let (half, inside) = (head / 2, row % head);
                (row - inside + inside % half * 2 + inside / half, 2, half - inside % half)
            }
            RowOrder::Transposed => return None,
        };
        let columns = self.columns();
        Some(Run { blocks, start: place * columns, stride: apart * columns, count })
    }

    /// Its bytes in memory as blocks.
    fn blocks(&self) -> Option<Blocks<'_>> {
        let bytes = self.file.bytes(self.offset, self.own_bytes()).filter(|_| self.added == 0.0)?;
        if let Some(constants) = &self.constants {
            return constants.blocks(bytes, self.elements(), self.columns());
        }
        let kind = match self.format {
            Format::F32 => GgmlDType::F32,
            Format::Bf16 => GgmlDType::BF16,
            Format::F16 => GgmlDType::F16,
            Format::Blocks(kind) => kind,
            Format::F64 | Format::FourBit(_) | Format::ByteRows => return None,
        };
        Blocks::gguf(kind, bytes).ok()
    }
}
