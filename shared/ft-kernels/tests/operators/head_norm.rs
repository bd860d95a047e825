use candle_core::Tensor;
use ft_kernels::Compute;
use ft_kernels::head_norm::{head_norm, head_norm_backward, reference};

use crate::common::{
    assert_close, assert_close_f64, assert_is_pieces, assert_same_bits, autograd, cpu, differences, matrix, own, values,
};

const EPS: f64 = 1e-6;

/// Where the groups lie: rows, columns, first column, groups, width.
const SHAPES: [(usize, usize, usize, usize, usize); 6] = [
    (1, 3, 0, 1, 3),
    (4, 40, 8, 2, 16),
    (5, 70, 0, 3, 20),
    (7, 96, 64, 1, 32),
    (40, 960, 576, 3, 64),
    (3, 520, 0, 2, 256),
];

fn inputs((rows, columns, _, _, width): (usize, usize, usize, usize, usize)) -> [Tensor; 3] {
    [matrix(1, rows, columns), matrix(2, rows, columns), matrix(3, 1, width).squeeze(0).unwrap()]
}

#[test]
fn forward_and_backward_are_the_reference_and_its_autograd() {
    for shape in SHAPES {
        let ([x, dy, w], (_, _, first, groups, _)) = (inputs(shape), shape);
        let expected = reference::head_norm(&x, &w, first, groups, EPS).unwrap();
        assert_close(&head_norm(cpu(), own(&x), &w, first, groups, EPS).unwrap(), &expected, 1e-6);
        let expected = autograd(&x, &dy, |x| reference::head_norm(x, &w, first, groups, EPS));
        let found = head_norm_backward(cpu(), own(&dy), &x, &w, first, groups, EPS).unwrap();
        assert_close(&found, &expected, 3e-6);
        let found = reference::head_norm_backward(&dy, &x, &w, first, groups, EPS).unwrap();
        assert_close(&found, &expected, 3e-6);
    }
}

#[test]
fn forward_and_backward_follow_the_definition() {
    let shape = (2, 17, 4, 2, 5);
    let [x, dy, w] = inputs(shape);
    let exact = |t: &Tensor| values(t).into_iter().map(f64::from).collect::<Vec<_>>();
    let weights = exact(&w);
    let formula = |x: &[f64]| {
        let mut y = x.to_vec();
        for row in y.chunks_mut(17) {
            for group in row[4..14].chunks_mut(5) {
                let scale = (group.iter().map(|x| x * x).sum::<f64>() / 5.0 + EPS).sqrt();
                group.iter_mut().zip(&weights).for_each(|(x, w)| *x *= w / scale);
            }
        }
        y
    };
    assert_close_f64(&head_norm(cpu(), own(&x), &w, 4, 2, EPS).unwrap(), &formula(&exact(&x)), 1e-6);
    let found = head_norm_backward(cpu(), own(&dy), &x, &w, 4, 2, EPS).unwrap();
    assert_close_f64(&found, &differences(&x, &dy, formula), 2e-6);
}

#[test]
fn a_row_does_not_know_its_neighbours() {
    let shape = (150, 960, 0, 12, 64);
    let [x, dy, w] = inputs(shape);
    let both = |c: Compute, x: &Tensor, dy: &Tensor| {
        let y = head_norm(c, own(x), &w, 0, 12, EPS).unwrap();
        [y, head_norm_backward(c, own(dy), x, &w, 0, 12, EPS).unwrap()]
    };
    assert_same_bits(|c| both(c, &x, &dy).into());
    let row = |t: &Tensor, i: usize| t.narrow(0, i, 1).unwrap();
    let pieces: Vec<_> = (0..150).map(|i| both(cpu(), &row(&x, i), &row(&dy, i))).collect();
    for (i, whole) in both(cpu(), &x, &dy).iter().enumerate() {
        assert_is_pieces(whole, &pieces.iter().map(|pair| pair[i].clone()).collect::<Vec<_>>());
    }
}

#[test]
fn groups_past_the_last_column_are_refused() {
    let [x, _, w] = inputs((2, 20, 0, 1, 8));
    let message = head_norm(cpu(), x, &w, 8, 2, EPS).unwrap_err().to_string();
    assert_eq!(message, "head_norm: x's columns is 20, expected \"24 or more\"");
}
