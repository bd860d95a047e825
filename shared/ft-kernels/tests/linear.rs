//! The linear layer with adapters: fused against reference, its backward against candle's autograd and
//! against finite differences in f64, and its rows against their neighbours.

use candle_core::{Result, Tensor, Var};
use ft_kernels::linear::{Dropout, Gradients, Linear, Lora, reference};
use ft_kernels::philox::Stream;
use ft_kernels::tensor::from_vec;

/// A layer `[out, in]` with adapters on two ranges of its columns, and an input of some sequences.
#[derive(Clone)]
struct Case {
    weight: Tensor,
    bias: Option<Tensor>,
    pairs: Vec<(Tensor, Tensor, f32, usize)>,
    x: Tensor,
    residual: Tensor,
    dy: Tensor,
    starts: Vec<usize>,
    dropout: f64,
}

fn random(rows: usize, cols: usize, what: u64) -> Tensor {
    let mut values = vec![0.0; rows * cols];
    Stream::new(11, 98, what).fill_normal(0, &mut values);
    from_vec(values, (rows, cols)).unwrap()
}

impl Case {
    fn new(inner: usize, outs: &[usize], r: usize, lengths: &[usize], dropout: f64, bias: bool) -> Self {
        let out = outs.iter().sum();
        let mut starts = vec![0];
        lengths.iter().for_each(|l| starts.push(starts[starts.len() - 1] + l));
        let tokens = starts[starts.len() - 1];
        let mut column = 0;
        let mut pairs = Vec::new();
        for (i, &width) in outs.iter().enumerate() {
            // The middle one of three has no adapter.
            if outs.len() < 3 || i != 1 {
                let i = i as u64;
                pairs.push((random(r, inner, 10 + i), random(width, r, 20 + i), 0.5 + i as f32, column));
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

    fn linear(&self, first_sequence: usize) -> Linear<'_> {
        let streams =
            || (first_sequence..first_sequence + self.starts.len() - 1).map(|s| Stream::new(3, 7, s as u64)).collect();
        let lora = self.pairs.iter().map(|(a, b, scaling, column)| Lora {
            a,
            b,
            scaling: *scaling,
            column: *column,
            dropout: (self.dropout > 0.0).then(|| Dropout { p: self.dropout, streams: streams() }),
        });
        Linear { weight: &self.weight, bias: self.bias.as_ref(), lora: lora.collect() }
    }
}

fn cases() -> Vec<Case> {
    vec![
        Case::new(24, &[17, 9, 8], 4, &[5, 1, 7], 0.0, true),
        Case::new(40, &[33], 2, &[3], 0.0, false),
        Case::new(64, &[48, 48], 16, &[20, 31, 2, 64], 0.3, false),
    ]
}

fn distance(found: &Tensor, expected: &Tensor) -> Result<f32> {
    let difference = (found - expected)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
    let size = expected.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
    Ok(difference / size.max(1e-6))
}

/// The gradients of an adapter summed over its sequences.
fn summed(gradients: &Gradients, adapter: usize) -> Result<(Tensor, Tensor)> {
    let mine: Vec<_> = gradients.lora.iter().filter(|g| g.adapter == adapter).collect();
    let sum = |all: Vec<&Tensor>| Tensor::stack(&all, 0)?.sum(0);
    Ok((sum(mine.iter().map(|g| &g.a).collect())?, sum(mine.iter().map(|g| &g.b).collect())?))
}

#[test]
fn fused_is_the_reference() -> Result<()> {
    for case in cases() {
        let layer = case.linear(0);
        let found = layer.forward(&case.x, &case.starts, Some(&case.residual))?;
        let expected = reference::forward(&layer, &case.x, &case.starts, Some(&case.residual))?;
        assert!(distance(&found, &expected)? < 1e-5);
        let found = layer.backward(&case.dy, &case.x, &case.starts, true)?;
        let expected = reference::backward(&layer, &case.dy, &case.x, &case.starts, true)?;
        assert!(distance(&found.x.unwrap(), &expected.x.unwrap())? < 1e-5);
        assert_eq!(found.lora.len(), layer.lora.len() * (case.starts.len() - 1));
        for (found, expected) in found.lora.iter().zip(&expected.lora) {
            assert_eq!((found.adapter, found.sequence), (expected.adapter, expected.sequence));
            assert!(distance(&found.a, &expected.a)? < 1e-5 && distance(&found.b, &expected.b)? < 1e-5);
        }
        assert!(layer.backward(&case.dy, &case.x, &case.starts, false)?.x.is_none());
    }
    Ok(())
}

#[test]
fn backward_is_candles_autograd_of_the_reference() -> Result<()> {
    for case in cases() {
        let x = Var::from_tensor(&case.x)?;
        let vars: Vec<(Var, Var)> = case
            .pairs
            .iter()
            .map(|(a, b, ..)| Ok((Var::from_tensor(a)?, Var::from_tensor(b)?)))
            .collect::<Result<_>>()?;
        let mut layer = case.linear(0);
        for (lora, (a, b)) in layer.lora.iter_mut().zip(&vars) {
            (lora.a, lora.b) = (a, b);
        }
        let y = reference::forward(&layer, &x, &case.starts, None)?;
        let gradients = (y * &case.dy)?.sum_all()?.backward()?;
        let found = case.linear(0).backward(&case.dy, &case.x, &case.starts, true)?;
        assert!(distance(found.x.as_ref().unwrap(), gradients.get(&x).unwrap())? < 1e-5);
        for (i, (a, b)) in vars.iter().enumerate() {
            let (da, db) = summed(&found, i)?;
            assert!(distance(&da, gradients.get(a).unwrap())? < 1e-5);
            assert!(distance(&db, gradients.get(b).unwrap())? < 1e-5);
        }
    }
    Ok(())
}

/// `sum(dy ⊙ (x·Wᵀ + s·x·Aᵀ·Bᵀ))` in f64, by its formula.
fn objective(case: &Case, x: &[f64], a: &[f64], b: &[f64]) -> f64 {
    let wide = |t: &Tensor| -> Vec<f64> {
        t.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f64::from).collect()
    };
    let (weight, dy) = (wide(&case.weight), wide(&case.dy));
    let (out, inner) = case.weight.dims2().unwrap();
    let (tokens, r, scaling) = (x.len() / inner, a.len() / inner, f64::from(case.pairs[0].2));
    let mut total = 0.0;
    for t in 0..tokens {
        let x = &x[t * inner..][..inner];
        let dot = |row: &[f64]| row.iter().zip(x).map(|(a, b)| a * b).sum::<f64>();
        let low: Vec<f64> = (0..r).map(|i| dot(&a[i * inner..][..inner])).collect();
        for o in 0..out {
            let adapted: f64 = low.iter().zip(&b[o * r..][..r]).map(|(u, b)| u * b).sum();
            total += dy[t * out + o] * (dot(&weight[o * inner..][..inner]) + scaling * adapted);
        }
    }
    total
}

#[test]
fn backward_is_the_finite_difference_in_f64() -> Result<()> {
    let case = Case::new(10, &[7], 3, &[4, 3], 0.0, false);
    let wide = |t: &Tensor| -> Vec<f64> {
        t.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f64::from).collect()
    };
    let found = case.linear(0).backward(&case.dy, &case.x, &case.starts, true)?;
    let (da, db) = summed(&found, 0)?;
    let inputs = [wide(&case.x), wide(&case.pairs[0].0), wide(&case.pairs[0].1)];
    for (which, gradient) in [found.x.as_ref().unwrap(), &da, &db].into_iter().enumerate() {
        for (i, gradient) in wide(gradient).into_iter().enumerate() {
            let at = |step: f64| {
                let mut inputs = inputs.clone();
                inputs[which][i] += step;
                objective(&case, &inputs[0], &inputs[1], &inputs[2])
            };
            let expected = (at(1e-4) - at(-1e-4)) / 2e-4;
            assert!(
                (gradient - expected).abs() < 1e-4 * expected.abs().max(1.0),
                "input {which}, element {i}: {gradient} for {expected}"
            );
        }
    }
    Ok(())
}

fn bits(t: &Tensor) -> Vec<u32> {
    t.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

#[test]
fn a_sequence_does_not_know_its_neighbours_nor_the_threads() -> Result<()> {
    for case in cases() {
        let whole = case.linear(0).forward(&case.x, &case.starts, Some(&case.residual))?;
        let gradients = case.linear(0).backward(&case.dy, &case.x, &case.starts, true)?;
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for (s, span) in case.starts.windows(2).enumerate() {
                let (from, length) = (span[0], span[1] - span[0]);
                let rows = |t: &Tensor| t.narrow(0, from, length).unwrap().contiguous().unwrap();
                let alone = Case {
                    starts: vec![0, length],
                    x: rows(&case.x),
                    residual: rows(&case.residual),
                    dy: rows(&case.dy),
                    ..case.clone()
                };
                let layer = alone.linear(s);
                let y = pool.install(|| layer.forward(&alone.x, &alone.starts, Some(&alone.residual)))?;
                assert_eq!(bits(&y), bits(&rows(&whole)), "sequence {s}, {threads} threads");
                let found = pool.install(|| layer.backward(&alone.dy, &alone.x, &alone.starts, true))?;
                assert_eq!(bits(found.x.as_ref().unwrap()), bits(&rows(gradients.x.as_ref().unwrap())));
                for found in &found.lora {
                    let expected =
                        gradients.lora.iter().find(|g| g.adapter == found.adapter && g.sequence == s).unwrap();
                    assert_eq!((bits(&found.a), bits(&found.b)), (bits(&expected.a), bits(&expected.b)));
                }
            }
        }
    }
    Ok(())
}
