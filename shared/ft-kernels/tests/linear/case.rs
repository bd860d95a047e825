//! What the tests of the linear layer run on.

use std::sync::Arc;

use candle_core::{Result, Tensor};
use ft_kernels::backend::Isa;
use ft_kernels::linear::{Dropout, Gradients, Linear, Lora, RowSource, Weight};
use ft_kernels::philox::Stream;
use ft_kernels::tensor::from_vec;

/// An adapter of `width` columns.
#[derive(Clone)]
pub struct Pair {
    pub a: Tensor,
    pub b: Tensor,
    pub scaling: f32,
    pub column: usize,
    pub magnitude: Option<Tensor>,
}

/// A layer `[out, in]` with adapters on ranges of its columns, and an input of some sequences.
#[derive(Clone)]
pub struct Case {
    pub weight: Tensor,
    pub bias: Option<Tensor>,
    pub pairs: Vec<Pair>,
    pub x: Tensor,
    pub residual: Tensor,
    pub dy: Tensor,
    pub starts: Vec<usize>,
    pub dropout: f64,
}

pub fn random(rows: usize, cols: usize, what: u64) -> Tensor {
    let mut values = vec![0.0; rows * cols];
    Stream::new(11, 98, what).fill_normal(0, &mut values);
    from_vec(values, (rows, cols)).unwrap()
}

impl Case {
    pub fn new(inner: usize, outs: &[usize], r: usize, lengths: &[usize], dropout: f64, bias: bool) -> Self {
        let out = outs.iter().sum();
        let mut starts = vec![0];
        lengths.iter().for_each(|l| starts.push(starts[starts.len() - 1] + l));
        let tokens = starts[starts.len() - 1];
        let mut column = 0;
        let mut pairs = Vec::new();
        for (i, &width) in outs.iter().enumerate() {
            // The middle one of three has no adapter.
            if outs.len() < 3 || i != 1 {
                let (a, b) = (random(r, inner, 10 + i as u64), random(width, r, 20 + i as u64));
                pairs.push(Pair { a, b, scaling: 0.5 + i as f32, column, magnitude: None });
            }
            column += width;
        }
        Self {
            weight: random(out, inner, 1),
            bias: bias.then(|| random(1, out, 2).squeeze(0).unwrap()),
            pairs,
            x: random(tokens, inner, 3),
            residual: random(tokens, out, 4),
            dy: random(tokens, out, 5),
            starts,
            dropout,
        }
    }

    /// Gives magnitudes to every `each`-th adapter, the first one first.
    pub fn with_magnitudes(mut self, each: usize) -> Self {
        for (i, pair) in self.pairs.iter_mut().enumerate().step_by(each) {
            let magnitude = random(1, pair.b.dim(0).unwrap(), 30 + i as u64).squeeze(0).unwrap();
            pair.magnitude = Some(magnitude.affine(2.0, 5.0).unwrap());
        }
        self
    }

    /// The dropout's random streams where the batch begins with this sequence of the data.
    pub fn streams(&self, first_sequence: usize) -> Vec<Stream> {
        (first_sequence..first_sequence + self.starts.len() - 1).map(|s| Stream::new(3, 7, s as u64)).collect()
    }

    pub fn linear(&self, first_sequence: usize) -> Linear<'_> {
        let lora = self.pairs.iter().map(|pair| Lora {
            a: &pair.a,
            b: &pair.b,
            scaling: pair.scaling,
            column: pair.column,
            dropout: (self.dropout > 0.0).then(|| Dropout { p: self.dropout, streams: self.streams(first_sequence) }),
            magnitude: pair.magnitude.as_ref(),
        });
        Linear { weight: (&self.weight).into(), bias: self.bias.as_ref(), lora: lora.collect() }
    }
}

/// A matrix whose rows are had three at a time.
#[derive(Debug)]
struct Threes(Vec<f32>, usize);

impl RowSource for Threes {
    fn rows(&self) -> usize {
        self.0.len() / self.1
    }

    fn columns(&self) -> usize {
        self.1
    }

    fn granule(&self) -> usize {
        3
    }

    fn bytes(&self) -> usize {
        4 * self.0.len()
    }

    fn expand(&self, _: Isa, first: usize, out: &mut [f32]) -> Result<()> {
        let rows = out.len() / self.1;
        assert!(first.is_multiple_of(3) && (rows.is_multiple_of(3) || first + rows == self.rows()));
        out.copy_from_slice(&self.0[first * self.1..][..out.len()]);
        Ok(())
    }
}

/// The same matrix, to be expanded.
pub fn by_rows(matrix: &Tensor) -> Weight {
    let values = matrix.flatten_all().unwrap().to_vec1().unwrap();
    Weight::of_rows(Arc::new(Threes(values, matrix.dim(1).unwrap())))
}

/// With and without biases, dropout and magnitudes.
pub fn cases() -> Vec<Case> {
    let three = Case::new(24, &[17, 9, 8], 4, &[5, 1, 7], 0.0, true);
    let one = Case::new(40, &[33], 2, &[3], 0.0, false);
    let two = Case::new(64, &[48, 70], 16, &[20, 31, 2, 64], 0.3, false);
    let biased = Case { bias: Some(random(1, 118, 2).squeeze(0).unwrap()), ..two.clone() };
    vec![
        three.clone(),
        one.clone(),
        two.clone(),
        three.with_magnitudes(2),
        one.with_magnitudes(1),
        two.with_magnitudes(2),
        biased.with_magnitudes(1),
    ]
}

/// The largest difference, by the largest expected value.
pub fn distance(found: &Tensor, expected: &Tensor) -> Result<f32> {
    assert_eq!(found.dims(), expected.dims());
    let difference = (found - expected)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
    let size = expected.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
    Ok(difference / size.max(1e-6))
}

/// The gradients of an adapter's tensors summed over its sequences: `A`, `B` and, where it has one, the magnitude.
pub fn summed(gradients: &Gradients, adapter: usize) -> Result<Vec<Tensor>> {
    let mine: Vec<_> = gradients.lora.iter().filter(|g| g.adapter == adapter).collect();
    let sum = |all: Vec<&Tensor>| Tensor::stack(&all, 0)?.sum(0);
    let mut sums = vec![sum(mine.iter().map(|g| &g.a).collect())?, sum(mine.iter().map(|g| &g.b).collect())?];
    if mine.iter().any(|g| g.magnitude.is_some()) {
        sums.push(sum(mine.iter().map(|g| g.magnitude.as_ref().unwrap()).collect())?);
    }
    Ok(sums)
}

pub fn bits(t: &Tensor) -> Vec<u32> {
    t.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

pub fn wide(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f64::from).collect()
}
