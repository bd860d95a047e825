use candle_core::{DType, Device, Tensor};
use ft_kernels::quant::{EightBit, FourBit, Kind, Placed};

use crate::common::{TYPES, bits, device, in_every_order, matrix};

const ROWS: usize = 7;

/// Whole packs and blocks; rows that begin within a block and a byte; more than a block of threads has.
const COLUMNS: [usize; 3] = [64, 37, 1500];

#[test]
fn rows_in_few_bits_are_the_cpus_numbers() {
    for columns in COLUMNS {
        let values = matrix(1, ROWS, columns, DType::F32).to_device(&Device::Cpu).unwrap();
        let values: Vec<f32> = values.flatten_all().unwrap().to_vec1().unwrap();
        let mut cases = Vec::new();
        for (kind, double) in [(Kind::Nf4, false), (Kind::Nf4, true), (Kind::Fp4, false)] {
            let four = FourBit::quantise(&values, kind, double);
            let mut wide = vec![0.0; values.len()];
            four.expand(&mut wide).unwrap();
            cases.push((Placed::four(&four, &device()).unwrap(), wide));
        }
        let eight = EightBit::quantise(&values);
        let mut wide = vec![0.0; values.len()];
        eight.expand(&mut wide).unwrap();
        cases.push((Placed::eight(&eight, &device()).unwrap(), wide));
        for (placed, wide) in cases {
            let wide = Tensor::from_vec(wide, (ROWS, columns), &Device::Cpu).unwrap();
            for dtype in TYPES {
                for (first, count) in [(0, ROWS), (3, 2), (ROWS - 1, 1)] {
                    let found = in_every_order(|| vec![placed.rows(dtype, columns, first, count).unwrap()]);
                    let expected = wide.narrow(0, first, count).unwrap().to_dtype(dtype).unwrap();
                    assert!(
                        bits(&found[0]) == bits(&expected),
                        "{columns} columns, {dtype:?}, {count} rows from {first}"
                    );
                }
            }
            assert!(placed.rows(DType::F32, columns, ROWS - 1, 2).is_err());
        }
    }
}
