use candle_core::{Device, Tensor};
use ft_kernels::loss::{RowLosses, cross_entropy, cross_entropy_forward, reference};

use crate::common::{
    assert_close, assert_close_f64, assert_is_pieces, assert_same_bits, autograd, differences, matrix, own,
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

fn nll(losses: &RowLosses) -> Tensor {
    Tensor::new(losses.nll.as_slice(), &Device::Cpu).unwrap()
}

#[test]
fn losses_and_gradients_are_the_reference_and_its_autograd() {
    for (rows, columns) in SHAPES {
        let (x, t) = (logits(rows, columns), targets(rows, columns));
        let expected = reference::cross_entropy_forward(&x, &t).unwrap();
        assert!(expected.correct[0]);
        let ones = Tensor::full(0.25f32, rows, &Device::Cpu).unwrap();
        let gradient = autograd(&x, &ones, |x| reference::nll(x, &t));
        for (losses, dx) in [cross_entropy(own(&x), &t, 0.25).unwrap(), reference::cross_entropy(&x, &t, 0.25).unwrap()]
        {
            assert_close(&nll(&losses), &nll(&expected), 1e-6);
            assert_eq!(losses.correct, expected.correct);
            assert_close(&dx, &gradient, 1e-6);
        }
        let (losses, _) = cross_entropy(own(&x), &t, 0.25).unwrap();
        assert_eq!(cross_entropy_forward(&x, &t).unwrap(), losses);
    }
}

#[test]
fn gradients_are_the_finite_differences() {
    let (x, t) = (matrix(3, 3, 11), targets(3, 11));
    let formula = |x: &[f64]| {
        let rows = x.chunks(11).zip(&t);
        rows.map(|(row, &t)| row.iter().map(|x| x.exp()).sum::<f64>().ln() - row[t as usize]).collect()
    };
    let ones = Tensor::ones(3, candle_core::DType::F32, &Device::Cpu).unwrap();
    let expected = differences(&x, &ones, formula);
    assert_close_f64(&cross_entropy(own(&x), &t, 1.0).unwrap().1, &expected, 1e-6);
}

#[test]
fn a_row_does_not_know_its_neighbours() {
    let (x, t) = (logits(12, 10_000), targets(12, 10_000));
    let both = |x: &Tensor, t: &[u32]| {
        let (losses, dx) = cross_entropy(own(x), t, 0.1).unwrap();
        (nll(&losses), dx)
    };
    assert_same_bits(|| {
        let (nll, dx) = both(&x, &t);
        vec![nll, dx]
    });
    let (nll, dx) = both(&x, &t);
    let pieces = (0..12).map(|i| both(&x.narrow(0, i, 1).unwrap(), &t[i..=i]));
    let (nlls, dxs): (Vec<_>, Vec<_>) = pieces.unzip();
    assert_is_pieces(&nll, &nlls);
    assert_is_pieces(&dx, &dxs);
}

#[test]
fn of_equal_logits_the_first_is_the_answer() {
    let x = Tensor::new(&[[1f32, 3., 3.], [3., 3., 1.], [0., 0., 0.]], &Device::Cpu).unwrap();
    let losses = cross_entropy_forward(&x, &[2, 0, 0]).unwrap();
    assert_eq!(losses.correct, [false, true, true]);
}

#[test]
fn what_is_not_a_number_stays_visible() {
    let x = Tensor::new(&[[1f32, f32::NAN, 3.], [1., 2., 3.]], &Device::Cpu).unwrap();
    let (losses, _) = cross_entropy(x, &[2, 2], 1.0).unwrap();
    assert!(losses.nll[0].is_nan() && losses.nll[1].is_finite());
}

#[test]
fn targets_outside_of_the_vocabulary_are_refused() {
    let x = matrix(1, 2, 5);
    let message = cross_entropy(x.clone(), &[1, 5], 1.0).unwrap_err().to_string();
    assert_eq!(message, "cross-entropy: row 1 has the target 5, but the vocabulary has 5 entries");
    let message = cross_entropy_forward(&x, &[1]).unwrap_err().to_string();
    assert_eq!(message, "cross-entropy: the number of targets is 1, expected 2");
}
