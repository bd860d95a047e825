use candle_core::Tensor;
use ft_kernels::Compute;
use ft_kernels::norm::{layer_norm, layer_norm_backward_add, reference};

use crate::common::{
    assert_close, assert_close_f64, assert_is_pieces, assert_same_bits, autograd, cpu, differences, matrix, values,
};

const EPS: f64 = 1e-5;
const SHAPES: [(usize, usize); 7] = [(1, 3), (3, 7), (5, 16), (2, 65), (300, 576), (9, 100), (2, 2560)];

struct Inputs {
    x: Tensor,
    dy: Tensor,
    w: Tensor,
    b: Tensor,
}

/// Rows whose mean is not small beside their spread.
fn inputs(rows: usize, columns: usize) -> Inputs {
    let vector = |seed| matrix(seed, 1, columns).squeeze(0).unwrap();
    let x = (matrix(1, rows, columns) + 3.0).unwrap();
    Inputs { x, dy: matrix(2, rows, columns), w: vector(3), b: vector(4) }
}

#[test]
fn forward_is_the_reference() {
    for (rows, columns) in SHAPES {
        let Inputs { x, w, b, .. } = inputs(rows, columns);
        for b in [None, Some(&b)] {
            let expected = reference::layer_norm(&x, &w, b, EPS).unwrap();
            assert_close(&layer_norm(cpu(), &x, &w, b, EPS).unwrap(), &expected, 2e-6);
        }
    }
}

#[test]
fn backward_is_the_autograd_of_the_reference() {
    for (rows, columns) in SHAPES {
        let Inputs { x, dy, w, b } = inputs(rows, columns);
        let expected = autograd(&x, &dy, |x| reference::layer_norm(x, &w, Some(&b), EPS));
        let found = layer_norm_backward_add(cpu(), &dy, &x, &w, EPS, None).unwrap();
        assert_close(&found, &expected, 5e-6);
        assert_close(&reference::layer_norm_backward(&dy, &x, &w, EPS).unwrap(), &expected, 5e-6);
        let residual = matrix(5, rows, columns);
        let added = layer_norm_backward_add(cpu(), &dy, &x, &w, EPS, Some(&residual)).unwrap();
        assert_close(&added, &(found + residual).unwrap(), 1e-6);
    }
}

#[test]
fn forward_and_backward_follow_the_definition() {
    let Inputs { x, dy, w, b } = inputs(2, 21);
    let exact = |t: &Tensor| values(t).into_iter().map(f64::from).collect::<Vec<_>>();
    let (weights, biases) = (exact(&w), exact(&b));
    let formula = |x: &[f64]| {
        let rows = x.chunks(21).flat_map(|row| {
            let mean = row.iter().sum::<f64>() / 21.0;
            let scale = (row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 21.0 + EPS).sqrt();
            row.iter().zip(weights.iter().zip(&biases)).map(move |(x, (w, b))| w * (x - mean) / scale + b)
        });
        rows.collect::<Vec<_>>()
    };
    assert_close_f64(&layer_norm(cpu(), &x, &w, Some(&b), EPS).unwrap(), &formula(&exact(&x)), 1e-6);
    let found = layer_norm_backward_add(cpu(), &dy, &x, &w, EPS, None).unwrap();
    assert_close_f64(&found, &differences(&x, &dy, formula), 2e-6);
}

#[test]
fn a_row_does_not_know_its_neighbours() {
    let Inputs { x, dy, w, b } = inputs(200, 577);
    let both = |c: Compute, x: &Tensor, dy: &Tensor| {
        let y = layer_norm(c, x, &w, Some(&b), EPS).unwrap();
        [y, layer_norm_backward_add(c, dy, x, &w, EPS, Some(x)).unwrap()]
    };
    assert_same_bits(|c| both(c, &x, &dy).into());
    let row = |t: &Tensor, i: usize| t.narrow(0, i, 1).unwrap();
    let pieces: Vec<_> = (0..200).map(|i| both(cpu(), &row(&x, i), &row(&dy, i))).collect();
    for (i, whole) in both(cpu(), &x, &dy).iter().enumerate() {
        assert_is_pieces(whole, &pieces.iter().map(|pair| pair[i].clone()).collect::<Vec<_>>());
    }
}

#[test]
fn a_bias_of_another_length_is_refused() {
    let Inputs { x, w, .. } = inputs(2, 8);
    let Inputs { b, .. } = inputs(2, 9);
    let message = layer_norm(cpu(), &x, &w, Some(&b), EPS).unwrap_err().to_string();
    assert_eq!(message, "layer_norm: the bias is [9], expected [8]");
}
