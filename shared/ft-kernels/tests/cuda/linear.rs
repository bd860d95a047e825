use candle_core::{DType, Tensor};
use ft_kernels::linear::{Gradients, Linear, Lora, Weight};
use ft_kernels::{Compute, Result};

use crate::common::{TYPES, assert_close, bits, bound, exact, in_every_order, kernels, matrix, part, vector};

/// One sequence is empty, one longer than a run.
const STARTS: [usize; 5] = [0, 1, 1, 38, 45];
const TOKENS: usize = 45;

/// A layer's numbers: two adapters, of ranks that are not and that are more than a block's.
struct Case {
    weight: Tensor,
    bias: Tensor,
    pairs: [(Tensor, Tensor); 2],
    magnitude: Option<Tensor>,
    x: Tensor,
    dy: Tensor,
    residual: Tensor,
}

impl Case {
    fn new(dtype: DType, magnitude: bool) -> Self {
        let learned = |seed, rows, columns| matrix(seed, rows, columns, DType::F32);
        Self {
            weight: matrix(1, 150, 70, dtype),
            bias: matrix(2, 1, 150, dtype).squeeze(0).unwrap(),
            pairs: [(learned(3, 3, 70), learned(4, 130, 3)), (learned(5, 20, 70), learned(6, 20, 20))],
            magnitude: magnitude.then(|| vector(10, 130).abs().unwrap()),
            x: matrix(7, TOKENS, 70, dtype),
            dy: matrix(8, TOKENS, 150, dtype),
            residual: matrix(9, TOKENS, 150, dtype),
        }
    }

    /// The same numbers in f64.
    fn exact(&self) -> Self {
        Self {
            weight: exact(&self.weight),
            bias: exact(&self.bias),
            pairs: self.pairs.each_ref().map(|(a, b)| (exact(a), exact(b))),
            magnitude: self.magnitude.as_ref().map(exact),
            x: exact(&self.x),
            dy: exact(&self.dy),
            residual: exact(&self.residual),
        }
    }

    /// Of some rows alone.
    fn of(&self, rows: &std::ops::Range<usize>) -> Self {
        let [x, dy, residual] = [&self.x, &self.dy, &self.residual].map(|t| part(t, rows));
        let pairs = self.pairs.clone();
        let (weight, bias, magnitude) = (self.weight.clone(), self.bias.clone(), self.magnitude.clone());
        Self { weight, bias, pairs, magnitude, x, dy, residual }
    }

    /// The output, the input's gradient, and each adapter's gradients by sequence.
    fn run(&self, compute: Compute, starts: &[usize]) -> Result<Vec<Tensor>> {
        let lora = self.pairs.iter().zip([0, 130]).map(|((a, b), column)| {
            let magnitude = self.magnitude.as_ref().filter(|_| column == 0);
            Lora { a, b, scaling: 0.25, column, dropout: None, magnitude }
        });
        let weight = Weight::Float(self.weight.clone());
        let layer = Linear { weight, bias: Some(&self.bias), lora: lora.collect() };
        let y = layer.forward(compute, &self.x, starts, Some(&self.residual))?;
        let Gradients { x, lora } = layer.backward(compute, &self.dy, &self.x, starts, true)?;
        let mut all = vec![y];
        all.extend(x);
        all.extend(lora.into_iter().flat_map(|one| [Some(one.a), Some(one.b), one.magnitude]).flatten());
        Ok(all)
    }
}

#[test]
fn layers_with_adapters_are_the_reference() {
    for dtype in TYPES {
        for magnitude in [false, true] {
            if magnitude && dtype != DType::F32 {
                continue;
            }
            let case = Case::new(dtype, magnitude);
            let found = in_every_order(|| case.run(kernels(), &STARTS).unwrap());
            let expected = case.exact().run(Compute::reference(), &STARTS).unwrap();
            assert_eq!(found.len(), expected.len());
            for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let learned = i >= 2;
                assert!(!learned || found.dtype() == DType::F32, "gradients are f32");
                // In half precision the adapter is rounded too, and what passes between its halves.
                let tolerance = bound(dtype) * if dtype == DType::F32 { 2.0 } else { 4.0 };
                assert_close(found, expected, tolerance);
            }
        }
    }
}

#[test]
fn a_sequence_does_not_know_its_neighbours() {
    for dtype in TYPES {
        let case = Case::new(dtype, false);
        let whole = case.run(kernels(), &STARTS).unwrap();
        for (sequence, pair) in STARTS.windows(2).enumerate() {
            let rows = pair[0]..pair[1];
            if rows.is_empty() {
                continue;
            }
            let alone = case.of(&rows).run(kernels(), &[0, rows.len()]).unwrap();
            assert!(bits(&part(&whole[0], &rows)) == bits(&alone[0]), "output of {rows:?}");
            assert!(bits(&part(&whole[1], &rows)) == bits(&alone[1]), "input's gradient of {rows:?}");
            // Adapters first, then sequences, a and b of each.
            let (of_one, sequences) = (2, STARTS.len() - 1);
            for adapter in 0..2 {
                for which in 0..of_one {
                    let among = &whole[2 + (adapter * sequences + sequence) * of_one + which];
                    assert!(bits(among) == bits(&alone[2 + adapter * of_one + which]), "{adapter} {which} of {rows:?}");
                }
            }
        }
    }
}
