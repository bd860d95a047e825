use ft_kernels::Compute;
use ft_kernels::residual::{add_scaled, reference, scaled};

use crate::common::{assert_close, assert_is_pieces, assert_same_bits, autograd, bits, cpu, matrix, own};

#[test]
fn both_are_the_reference_and_its_autograd() {
    for (rows, columns) in [(1, 1), (3, 7), (2, 65), (300, 577)] {
        let (base, y, d) = (matrix(1, rows, columns), matrix(2, rows, columns), matrix(3, rows, columns));
        let found = add_scaled(cpu(), &base, own(&y), 0.22).unwrap();
        assert_close(&found, &reference::add_scaled(&base, &y, 0.22).unwrap(), 1e-6);
        let found = scaled(cpu(), own(&y), 0.22).unwrap();
        assert_eq!(bits(&found), bits(&reference::scaled(&y, 0.22).unwrap()));
        let expected = autograd(&y, &d, |y| reference::add_scaled(&base, y, 0.22));
        assert_close(&scaled(cpu(), own(&d), 0.22).unwrap(), &expected, 1e-6);
        assert_eq!(bits(&add_scaled(cpu(), &base, own(&y), 1.0).unwrap()), bits(&(base + y).unwrap()));
    }
}

#[test]
fn a_row_does_not_know_its_neighbours() {
    let (base, y) = (matrix(1, 200, 577), matrix(2, 200, 577));
    let both = |c: Compute, base: &candle_core::Tensor, y: &candle_core::Tensor| {
        [add_scaled(c, base, own(y), 0.3).unwrap(), scaled(c, own(y), 0.3).unwrap()]
    };
    assert_same_bits(|c| both(c, &base, &y).into());
    let row = |t: &candle_core::Tensor, i| t.narrow(0, i, 1).unwrap();
    let pieces: Vec<_> = (0..200).map(|i| both(cpu(), &row(&base, i), &row(&y, i))).collect();
    for (i, whole) in both(cpu(), &base, &y).iter().enumerate() {
        assert_is_pieces(whole, &pieces.iter().map(|piece| piece[i].clone()).collect::<Vec<_>>());
    }
}

#[test]
fn another_shape_is_refused() {
    let message = add_scaled(cpu(), &matrix(1, 2, 3), matrix(1, 3, 2), 1.0).unwrap_err().to_string();
    assert_eq!(message, "add_scaled: y is [3, 2], expected [2, 3]");
}
