use candle_core::Tensor;
use ft_kernels::norm::{reference, rms_norm, rms_norm_backward, rms_norm_backward_add};

use crate::common::{
    assert_close, assert_close_f64, assert_is_pieces, assert_same_bits, autograd, cpu, differences, matrix,
};

const EPS: f64 = 1e-5;
const SHAPES: [(usize, usize); 6] = [(1, 3), (3, 7), (5, 16), (2, 65), (300, 576), (9, 100)];

fn inputs(rows: usize, columns: usize) -> (Tensor, Tensor, Tensor) {
    let weight = matrix(3, 1, columns).squeeze(0).unwrap();
    (matrix(1, rows, columns), matrix(2, rows, columns), weight)
}

#[test]
fn forward_is_the_reference() {
    for (rows, columns) in SHAPES {
        let (x, _, w) = inputs(rows, columns);
        assert_close(&rms_norm(cpu(), &x, &w, EPS).unwrap(), &reference::rms_norm(&x, &w, EPS).unwrap(), 1e-6);
    }
}

#[test]
fn backward_is_the_autograd_of_the_reference() {
    for (rows, columns) in SHAPES {
        let (x, dy, w) = inputs(rows, columns);
        let expected = autograd(&x, &dy, |x| reference::rms_norm(x, &w, EPS));
        let found = rms_norm_backward(cpu(), &dy, &x, &w, EPS).unwrap();
        assert_close(&found, &expected, 3e-6);
        assert_close(&reference::rms_norm_backward(&dy, &x, &w, EPS).unwrap(), &expected, 3e-6);
        let residual = matrix(4, rows, columns);
        let added = rms_norm_backward_add(cpu(), &dy, &x, &w, EPS, &residual).unwrap();
        assert_close(&added, &(found + residual).unwrap(), 1e-6);
    }
}

#[test]
fn backward_is_the_finite_difference() {
    let (x, dy, w) = inputs(2, 21);
    let weights: Vec<f64> = crate::common::values(&w).into_iter().map(f64::from).collect();
    let formula = |x: &[f64]| {
        let rows = x.chunks(21).flat_map(|row| {
            let scale = (row.iter().map(|x| x * x).sum::<f64>() / 21.0 + EPS).sqrt();
            row.iter().zip(&weights).map(move |(x, w)| w * x / scale)
        });
        rows.collect()
    };
    let found = rms_norm_backward(cpu(), &dy, &x, &w, EPS).unwrap();
    assert_close_f64(&found, &differences(&x, &dy, formula), 1e-6);
}

#[test]
fn a_row_does_not_know_its_neighbours() {
    let (x, dy, w) = inputs(200, 576);
    assert_same_bits(|c| {
        vec![rms_norm(c, &x, &w, EPS).unwrap(), rms_norm_backward_add(c, &dy, &x, &w, EPS, &x).unwrap()]
    });
    let rows = |t: &Tensor, i: usize| t.narrow(0, i, 1).unwrap();
    let pieces: Vec<_> = (0..200).map(|i| rms_norm(cpu(), &rows(&x, i), &w, EPS).unwrap()).collect();
    assert_is_pieces(&rms_norm(cpu(), &x, &w, EPS).unwrap(), &pieces);
    let piece = |i| rms_norm_backward(cpu(), &rows(&dy, i), &rows(&x, i), &w, EPS).unwrap();
    let pieces: Vec<_> = (0..200).map(piece).collect();
    assert_is_pieces(&rms_norm_backward(cpu(), &dy, &x, &w, EPS).unwrap(), &pieces);
}

#[test]
fn a_weight_of_another_length_is_refused() {
    let (x, _, _) = inputs(2, 8);
    let (_, _, w) = inputs(2, 9);
    let message = rms_norm(cpu(), &x, &w, EPS).unwrap_err().to_string();
    assert_eq!(message, "rms_norm: the weight is [9], expected [8]");
}
