use candle_core::Tensor;
use ft_kernels::Compute;
use ft_kernels::row_scale::{reference, row_scale};

use crate::common::{
    assert_close_f64, assert_is_pieces, assert_same_bits, autograd, bits, cpu, differences, matrix, numbers, own,
    values,
};

/// Rows, columns that are scaled, columns that stay.
const SHAPES: [(usize, usize, usize); 4] = [(1, 1, 0), (3, 0, 7), (5, 65, 12), (300, 512, 65)];

#[test]
fn forward_and_backward_are_the_reference_and_its_autograd() {
    for (rows, columns, rest) in SHAPES {
        let (x, dy, factors) = (matrix(1, rows, columns + rest), matrix(2, rows, columns + rest), numbers(3, rows));
        let expected = reference::row_scale(&x, &factors, columns).unwrap();
        assert_eq!(bits(&row_scale(cpu(), own(&x), &factors, columns).unwrap()), bits(&expected));
        let expected = autograd(&x, &dy, |x| reference::row_scale(x, &factors, columns));
        assert_eq!(bits(&row_scale(cpu(), own(&dy), &factors, columns).unwrap()), bits(&expected));
    }
}

#[test]
fn backward_is_the_finite_difference() {
    let (x, dy, factors) = (matrix(1, 4, 9), matrix(2, 4, 9), numbers(3, 4));
    let formula = |x: &[f64]| {
        let one = |(i, x): (usize, &f64)| if i % 9 < 5 { x * f64::from(factors[i / 9]) } else { *x };
        x.iter().enumerate().map(one).collect::<Vec<f64>>()
    };
    let exact: Vec<f64> = values(&x).into_iter().map(f64::from).collect();
    assert_close_f64(&row_scale(cpu(), own(&x), &factors, 5).unwrap(), &formula(&exact), 1e-6);
    assert_close_f64(&row_scale(cpu(), own(&dy), &factors, 5).unwrap(), &differences(&x, &dy, formula), 1e-6);
}

#[test]
fn a_row_does_not_know_its_neighbours() {
    let (x, factors) = (matrix(1, 200, 577), numbers(3, 200));
    let scale = |c: Compute, x: &Tensor, factors: &[f32]| row_scale(c, own(x), factors, 500).unwrap();
    assert_same_bits(|c| vec![scale(c, &x, &factors)]);
    let pieces: Vec<_> = (0..200).map(|i| scale(cpu(), &x.narrow(0, i, 1).unwrap(), &factors[i..=i])).collect();
    assert_is_pieces(&scale(cpu(), &x, &factors), &pieces);
}

#[test]
fn another_number_of_factors_is_refused() {
    let message = row_scale(cpu(), matrix(1, 2, 3), &[1.0], 3).unwrap_err().to_string();
    assert_eq!(message, "row_scale: the number of factors is 1, expected 2");
}
