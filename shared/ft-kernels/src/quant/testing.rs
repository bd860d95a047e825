//! Matrices in every format, for the tests of what reads them.

use candle_core::quantized::GgmlDType::{BF16, F16, F32, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

use super::{Absmax, BlockRows, Blocks, EightBit, FourBit, Kind, Nested, Run};
use crate::simd::Isa;

/// A matrix in blocks, whose even rows come before its odd ones where `mixed` says so.
pub struct Known {
    pub name: String,
    pub rows: usize,
    pub columns: usize,
    mixed: bool,
    held: Held,
}

enum Held {
    Four(FourBit),
    Eight(EightBit),
    Bytes(Vec<u8>, Vec<f32>),
    Gguf(GgmlDType, Vec<u8>),
}

impl Known {
    fn blocks(&self) -> Blocks<'_> {
        match &self.held {
            Held::Four(matrix) => matrix.blocks(),
            Held::Eight(matrix) => matrix.blocks(),
            Held::Bytes(codes, scales) => Blocks::Bytes { codes, scales, columns: self.columns },
            Held::Gguf(kind, bytes) => Blocks::gguf(*kind, bytes).unwrap(),
        }
    }

    /// Where row `row` lies among the blocks, and how many follow it with another between.
    fn place(&self, row: usize) -> (usize, usize) {
        let even = self.rows.div_ceil(2);
        if row < even { (2 * row, even - row) } else { (2 * (row - even) + 1, self.rows - row) }
    }

    /// Its numbers, row by row, each row for itself.
    pub fn floats(&self) -> Vec<f32> {
        let mut all = vec![f32::NAN; self.rows * self.columns];
        for (row, out) in all.chunks_exact_mut(self.columns).enumerate() {
            let place = if self.mixed { self.place(row).0 } else { row };
            self.blocks().expand(Isa::Portable, place * self.columns, out).unwrap();
        }
        all
    }
}

impl BlockRows for Known {
    fn run(&self, row: usize) -> Run<'_> {
        let columns = self.columns;
        let (place, apart, count) = if self.mixed {
            let (place, count) = self.place(row);
            (place, 2, count)
        } else {
            (row, 1, self.rows - row)
        };
        Run { blocks: self.blocks(), start: place * columns, stride: apart * columns, count }
    }
}

/// A matrix in every format that rows of so many columns can have.
pub fn in_every_format(rows: usize, columns: usize) -> Vec<Known> {
    let len = rows * columns;
    let number = |i: usize| ((i as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / 8e6 - 1.0;
    let values: Vec<f32> = (0..len).map(number).collect();
    let mut all: Vec<(String, Held)> = Vec::new();
    for kind in [Kind::Nf4, Kind::Fp4] {
        for double in [false, true] {
            all.push((format!("{kind} {double}"), Held::Four(FourBit::quantise(&values, kind, double))));
        }
    }
    // Codes of blocks of another size, with the scales of some numbers.
    for block in [32, 128] {
        let scales: Vec<f32> = (0..len.div_ceil(block)).map(|i| 0.5 + number(i).abs()).collect();
        let packed = (0..len.div_ceil(2)).map(|i| (i * 73 % 256) as u8).collect();
        let absmax = Absmax::Nested(Nested::quantise(&scales));
        let matrix = FourBit::from_parts(Kind::Nf4, block, packed, absmax, len).unwrap();
        all.push((format!("blocks of {block}"), Held::Four(matrix)));
    }
    all.push(("8 bits".into(), Held::Eight(EightBit::quantise(&values))));
    let codes = (0..len).map(|i| (i * 37 % 256) as u8).collect();
    all.push(("bytes".into(), Held::Bytes(codes, (0..rows).map(number).collect())));
    let tensor = Tensor::from_slice(&values, (rows, columns), &Device::Cpu).unwrap();
    for kind in [F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2K, Q3K, Q4K, Q5K, Q6K] {
        if columns.is_multiple_of(kind.block_size()) {
            let bytes = QTensor::quantize(&tensor, kind).unwrap().data().unwrap().to_vec();
            all.push((format!("{kind:?}"), Held::Gguf(kind, bytes)));
        }
    }
    let known = |(i, (name, held))| Known { name, rows, columns, mixed: i % 2 == 1, held };
    all.into_iter().enumerate().map(known).collect()
}
