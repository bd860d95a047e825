//! The backward against finite differences of the layer's formula in f64.

use candle_core::{Result, Tensor};
use ft_kernels::backend::{Compute, Isa};
use ft_kernels::philox::dropout_scale;

use crate::case::{Case, summed, wide};

/// The layer's formula in f64, with one adapter, for an input, `A`, `B` and magnitudes that may differ from the case's.
struct Formula {
    weight: Vec<f64>,
    dy: Vec<f64>,
    /// The dropout's, `[tokens, in]`.
    mask: Vec<f64>,
    /// `‖W + s·B·A‖` of the case's own `A` and `B`: a constant.
    norms: Option<Vec<f64>>,
    scaling: f64,
    out: usize,
    inner: usize,
}

impl Formula {
    fn of(case: &Case) -> Self {
        let (out, inner) = case.weight.dims2().unwrap();
        let pair = &case.pairs[0];
        let (weight, a, b, scaling) = (wide(&case.weight), wide(&pair.a), wide(&pair.b), f64::from(pair.scaling));
        let mut mask = vec![1.0; case.x.elem_count()];
        if case.dropout > 0.0 {
            for (stream, span) in case.streams(0).iter().zip(case.starts.windows(2)) {
                for (t, row) in mask[span[0] * inner..span[1] * inner].chunks_mut(inner).enumerate() {
                    dropout_scale(Isa::best(), stream, t, inner, case.dropout, row);
                }
            }
        }
        let r = a.len() / inner;
        let adapted = |o: usize, i: usize| {
            weight[o * inner + i] + scaling * (0..r).map(|j| b[o * r + j] * a[j * inner + i]).sum::<f64>()
        };
        let norm = |o: usize| (0..inner).map(|i| adapted(o, i).powi(2)).sum::<f64>().sqrt();
        let norms = pair.magnitude.is_some().then(|| (0..out).map(norm).collect());
        let mask = mask.into_iter().map(f64::from).collect();
        Self { dy: wide(&case.dy), mask, norms, scaling, out, inner, weight }
    }

    /// `sum(dy ⊙ y)`
    fn objective(&self, x: &[f64], a: &[f64], b: &[f64], magnitude: Option<&Vec<f64>>) -> f64 {
        let r = a.len() / self.inner;
        let mut total = 0.0;
        for (t, x) in x.chunks(self.inner).enumerate() {
            let masked: Vec<f64> = x.iter().zip(&self.mask[t * self.inner..]).map(|(x, m)| x * m).collect();
            let dot = |row: &[f64], x: &[f64]| row.iter().zip(x).map(|(a, b)| a * b).sum::<f64>();
            let low: Vec<f64> = a.chunks(self.inner).map(|a| dot(a, &masked)).collect();
            for o in 0..self.out {
                let weight = &self.weight[o * self.inner..][..self.inner];
                let adapted = self.scaling * dot(&b[o * r..][..r], &low);
                let added = match (magnitude, &self.norms) {
                    (Some(magnitude), Some(norms)) => {
                        let factor = magnitude[o] / norms[o];
                        (factor - 1.0) * dot(weight, &masked) + factor * adapted
                    }
                    _ => adapted,
                };
                total += self.dy[t * self.out + o] * (dot(weight, x) + added);
            }
        }
        total
    }
}

#[test]
fn backward_is_the_finite_difference_in_f64() -> Result<()> {
    for (dropout, dora) in [(0.0, false), (0.4, false), (0.0, true), (0.4, true)] {
        let plain = Case::new(10, &[7], 3, &[4, 3], dropout, false);
        let case = if dora { plain.with_magnitudes(1) } else { plain };
        let formula = Formula::of(&case);
        let found = case.linear(0).backward(Compute::cpu(), &case.dy, &case.x, &case.starts, true)?;
        let pair = &case.pairs[0];
        let mut inputs = vec![wide(&case.x), wide(&pair.a), wide(&pair.b)];
        inputs.extend(pair.magnitude.as_ref().map(wide));
        let gradients: Vec<Tensor> = found.x.clone().into_iter().chain(summed(&found, 0)?).collect();
        assert_eq!(gradients.len(), inputs.len());
        for (which, gradient) in gradients.iter().enumerate() {
            for (i, gradient) in wide(gradient).into_iter().enumerate() {
                let at = |step: f64| {
                    let mut inputs = inputs.clone();
                    inputs[which][i] += step;
                    formula.objective(&inputs[0], &inputs[1], &inputs[2], inputs.get(3))
                };
                let expected = (at(1e-4) - at(-1e-4)) / 2e-4;
                assert!(
                    (gradient - expected).abs() < 1e-4 * expected.abs().max(1.0),
                    "dropout {dropout}, magnitude {dora}, input {which}, element {i}: {gradient} for {expected}"
                );
            }
        }
    }
    Ok(())
}
