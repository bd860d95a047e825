use candle_core::{DType, Device, Tensor};
use ft_kernels::loss::{LogitShape, RowLosses, cross_entropy, cross_entropy_forward, reference, shape_logits};

use crate::common::{
    TYPES, assert_close, assert_rows_are_alone, autograd, bound, device, exact, in_every_order, kernels, matrix, part,
};

const SHAPES: [(usize, usize); 5] = [(1, 1), (3, 7), (5, 16), (4, 1000), (2, 9001)];

/// None, a factor, a bound, both.
const SHAPES_OF_LOGITS: [LogitShape; 4] = [
    LogitShape { scale: 1.0, softcap: None },
    LogitShape { scale: 0.3, softcap: None },
    LogitShape { scale: 1.0, softcap: Some(30.0) },
    LogitShape { scale: 0.125, softcap: Some(5.0) },
];

fn targets(rows: usize, columns: usize) -> Vec<u32> {
    (0..rows).map(|i| ((i * 7919) % columns) as u32).collect()
}

fn nll(losses: &RowLosses) -> Tensor {
    Tensor::new(losses.nll.as_slice(), &Device::Cpu).unwrap()
}

#[test]
fn losses_and_gradients_are_the_reference_and_its_autograd() {
    for dtype in TYPES {
        for shape in SHAPES_OF_LOGITS {
            for (rows, columns) in SHAPES {
                let (x, t) = ((matrix(1, rows, columns, dtype) * 4.0).unwrap(), targets(rows, columns));
                let found = in_every_order(|| {
                    let (losses, dx) = cross_entropy(kernels(), x.copy().unwrap(), &t, 0.25, shape).unwrap();
                    let alone = cross_entropy_forward(kernels(), &x, &t, shape).unwrap();
                    assert_eq!(alone, losses);
                    vec![nll(&losses), dx, shape_logits(kernels(), x.copy().unwrap(), shape).unwrap()]
                });
                let plain = exact(&x);
                let expected = reference::cross_entropy_forward(&plain, &t, shape).unwrap();
                assert_close(&found[0], &nll(&expected), 2e-6);
                let quarters = Tensor::full(0.25f64, rows, &Device::Cpu).unwrap();
                assert_close(&found[1], &autograd(&x, &quarters, |x| reference::nll(x, &t, shape)), bound(dtype));
                assert_close(&found[2], &reference::shape_logits(&plain, shape).unwrap(), bound(dtype));
                let answers = cross_entropy_forward(kernels(), &x, &t, shape).unwrap().correct;
                assert_eq!(answers, expected.correct);
            }
        }
    }
}

#[test]
fn a_row_does_not_know_its_neighbours() {
    for dtype in TYPES {
        let (x, t) = (matrix(1, 5, 3001, dtype), targets(5, 3001));
        assert_rows_are_alone(5, |rows| {
            let shape = LogitShape::default();
            let (losses, dx) = cross_entropy(kernels(), part(&x, &rows), &t[rows], 0.1, shape).unwrap();
            vec![nll(&losses), dx]
        });
    }
}

#[test]
fn of_equal_logits_the_first_is_the_answer() {
    let x = Tensor::new(&[[1f32, 3., 3.], [3., 3., 1.], [0., 0., 0.]], &device()).unwrap();
    let losses = cross_entropy_forward(kernels(), &x, &[2, 0, 0], LogitShape::default()).unwrap();
    assert_eq!(losses.correct, [false, true, true]);
    let long = Tensor::zeros((1, 5000), DType::F32, &device()).unwrap();
    let of = |target| cross_entropy_forward(kernels(), &long, &[target], LogitShape::default()).unwrap().correct[0];
    assert!(of(0) && !of(1) && !of(4096));
}

#[test]
fn what_is_not_a_number_stays_visible_and_what_is_out_of_question_counts_nothing() {
    let x = Tensor::new(&[[1f32, f32::NAN, 3.], [1., 2., 3.], [f32::NEG_INFINITY, 0., 0.]], &device()).unwrap();
    let (losses, dx) = cross_entropy(kernels(), x, &[2, 2, 1], 1.0, LogitShape::default()).unwrap();
    assert!(losses.nll[0].is_nan() && losses.nll[1].is_finite());
    assert!((losses.nll[2] - 2f32.ln()).abs() < 1e-6);
    assert_eq!(dx.to_vec2::<f32>().unwrap()[2], [0.0, -0.5, 0.5]);
}
