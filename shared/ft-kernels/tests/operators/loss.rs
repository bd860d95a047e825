use candle_core::{DType, Device, Tensor};
use ft_kernels::Compute;
use ft_kernels::loss::{LogitShape, RowLosses, cross_entropy, cross_entropy_forward, reference, shape_logits};

use crate::common::{
    assert_close, assert_close_f64, assert_is_pieces, assert_same_bits, autograd, cpu, differences, matrix, own,
};

const SHAPES: [(usize, usize); 5] = [(1, 1), (3, 7), (5, 16), (4, 1000), (6, 49152)];

fn targets(rows: usize, columns: usize) -> Vec<u32> {
    (0..rows).map(|i| ((i * 7919) % columns) as u32).collect()
}

/// Logits of some spread, with the first row's target the largest.
fn logits(rows: usize, columns: usize) -> Tensor {
    let mut values = crate::common::numbers(1, rows * columns);
    for x in &mut values {
        *x *= 4.0;
    }
    values[targets(rows, columns)[0] as usize] = 50.0;
    Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
}

/// None, a factor, a bound, both.
const SHAPES_OF_LOGITS: [LogitShape; 4] = [
    LogitShape { scale: 1.0, softcap: None },
    LogitShape { scale: 0.3, softcap: None },
    LogitShape { scale: 1.0, softcap: Some(30.0) },
    LogitShape { scale: 0.125, softcap: Some(5.0) },
];

fn nll(losses: &RowLosses) -> Tensor {
    Tensor::new(losses.nll.as_slice(), &Device::Cpu).unwrap()
}

#[test]
fn losses_and_gradients_are_the_reference_and_its_autograd() {
    for shape in SHAPES_OF_LOGITS {
        for (rows, columns) in SHAPES {
            let (x, t) = (logits(rows, columns), targets(rows, columns));
            // In f64: candle's sum of a long row in f32 loses the digits that the rest is held to.
            let exact = x.to_dtype(DType::F64).unwrap();
            let expected = reference::cross_entropy_forward(&exact, &t, shape).unwrap();
            assert!(expected.correct[0]);
            let quarters = Tensor::full(0.25f64, rows, &Device::Cpu).unwrap();
            let gradient = autograd(&exact, &quarters, |x| reference::nll(x, &t, shape));
            let plain = reference::cross_entropy(&exact, &t, 0.25, shape).unwrap();
            for (losses, dx) in [cross_entropy(cpu(), own(&x), &t, 0.25, shape).unwrap(), plain] {
                assert_close(&nll(&losses), &nll(&expected), 1e-6);
                assert_eq!(losses.correct, expected.correct);
                let [dx, gradient] = [&dx, &gradient].map(|t| t.to_dtype(DType::F32).unwrap());
                assert_close(&dx, &gradient, 1e-6);
            }
            let (losses, _) = cross_entropy(cpu(), own(&x), &t, 0.25, shape).unwrap();
            assert_eq!(cross_entropy_forward(cpu(), &x, &t, shape).unwrap(), losses);
        }
    }
}

#[test]
fn gradients_are_the_finite_differences() {
    for shape in SHAPES_OF_LOGITS {
        let (x, t) = (matrix(3, 3, 11), targets(3, 11));
        let formula = |x: &[f64]| {
            let rows = x.chunks(11).zip(&t);
            let shaped = |x: f64| {
                let x = x * f64::from(shape.scale);
                shape.softcap.map_or(x, |cap| f64::from(cap) * (x / f64::from(cap)).tanh())
            };
            let loss = |(row, &t): (&[f64], &u32)| {
                row.iter().map(|&x| shaped(x).exp()).sum::<f64>().ln() - shaped(row[t as usize])
            };
            rows.map(loss).collect()
        };
        let ones = Tensor::ones(3, DType::F32, &Device::Cpu).unwrap();
        let expected = differences(&x, &ones, formula);
        assert_close_f64(&cross_entropy(cpu(), own(&x), &t, 1.0, shape).unwrap().1, &expected, 1e-6);
    }
}

#[test]
fn shaped_logits_are_those_of_the_reference() {
    for shape in SHAPES_OF_LOGITS {
        let x = logits(3, 1001);
        let found = shape_logits(cpu(), own(&x), shape).unwrap();
        assert_close(&found, &reference::shape_logits(&x, shape).unwrap(), 1e-6);
        // The loss of shaped logits is the shaped loss of those before.
        let t = targets(3, 1001);
        let expected = cross_entropy_forward(cpu(), &x, &t, shape).unwrap();
        assert_eq!(cross_entropy_forward(cpu(), &found, &t, LogitShape::default()).unwrap(), expected);
    }
}

#[test]
fn a_row_does_not_know_its_neighbours() {
    for shape in SHAPES_OF_LOGITS {
        let (x, t) = (logits(12, 10_001), targets(12, 10_001));
        let all = |c: Compute, x: &Tensor, t: &[u32]| {
            let (losses, dx) = cross_entropy(c, own(x), t, 0.1, shape).unwrap();
            [nll(&losses), dx, shape_logits(c, own(x), shape).unwrap()]
        };
        assert_same_bits(|c| all(c, &x, &t).into());
        let pieces: Vec<_> = (0..12).map(|i| all(cpu(), &x.narrow(0, i, 1).unwrap(), &t[i..=i])).collect();
        for (i, whole) in all(cpu(), &x, &t).iter().enumerate() {
            assert_is_pieces(whole, &pieces.iter().map(|piece| piece[i].clone()).collect::<Vec<_>>());
        }
    }
}

#[test]
fn of_equal_logits_the_first_is_the_answer() {
    let x = Tensor::new(&[[1f32, 3., 3.], [3., 3., 1.], [0., 0., 0.]], &Device::Cpu).unwrap();
    let losses = cross_entropy_forward(cpu(), &x, &[2, 0, 0], LogitShape::default()).unwrap();
    assert_eq!(losses.correct, [false, true, true]);
    // Logits that the bound makes equal.
    let shape = LogitShape { scale: 1.0, softcap: Some(1.0) };
    let x = Tensor::new(&[[100f32, 200., 300.], [100., 200., 300.]], &Device::Cpu).unwrap();
    let losses = cross_entropy_forward(cpu(), &x, &[0, 2], shape).unwrap();
    assert_eq!(losses.correct, [true, false]);
    assert_eq!(cross_entropy(cpu(), x, &[0, 2], 1.0, shape).unwrap().0, losses);
}

#[test]
fn what_is_not_a_number_stays_visible() {
    let x = Tensor::new(&[[1f32, f32::NAN, 3.], [1., 2., 3.]], &Device::Cpu).unwrap();
    let (losses, _) = cross_entropy(cpu(), x, &[2, 2], 1.0, LogitShape::default()).unwrap();
    assert!(losses.nll[0].is_nan() && losses.nll[1].is_finite());
}

#[test]
fn targets_outside_of_the_vocabulary_are_refused() {
    let x = matrix(1, 2, 5);
    let message = cross_entropy(cpu(), x.clone(), &[1, 5], 1.0, LogitShape::default()).unwrap_err().to_string();
    assert_eq!(message, "cross-entropy: row 1 has the target 5, but the vocabulary has 5 entries");
    let message = cross_entropy_forward(cpu(), &x, &[1], LogitShape::default()).unwrap_err().to_string();
    assert_eq!(message, "cross-entropy: the number of targets is 1, expected 2");
}
