use candle_core::{Device, Tensor};
use ft_kernels::activation::{reference, swiglu, swiglu_backward, swiglu_backward_inplace};

use crate::common::{
    assert_close, assert_close_f64, assert_is_pieces, assert_same_bits, autograd, differences, matrix, own,
};

const SHAPES: [(usize, usize); 5] = [(1, 1), (3, 7), (5, 16), (2, 65), (100, 1536)];

#[test]
fn forward_and_backward_are_the_reference_and_its_autograd() {
    for (rows, inter) in SHAPES {
        let (x, dh) = (matrix(1, rows, 2 * inter), matrix(2, rows, inter));
        assert_close(&swiglu(&x).unwrap(), &reference::swiglu(&x).unwrap(), 1e-6);
        let expected = autograd(&x, &dh, reference::swiglu);
        assert_close(&swiglu_backward(&dh, &x).unwrap(), &expected, 1e-6);
        assert_close(&reference::swiglu_backward(&dh, &x).unwrap(), &expected, 1e-6);
        assert_close(&swiglu_backward_inplace(&dh, own(&x)).unwrap(), &expected, 1e-6);
    }
}

#[test]
fn backward_is_the_finite_difference() {
    let (x, dh) = (matrix(1, 3, 18), matrix(2, 3, 9));
    let formula = |x: &[f64]| {
        let rows = x.chunks(18).flat_map(|row| {
            let (gate, up) = row.split_at(9);
            gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u)
        });
        rows.collect()
    };
    assert_close_f64(&swiglu_backward(&dh, &x).unwrap(), &differences(&x, &dh, formula), 1e-6);
}

#[test]
fn a_row_does_not_know_its_neighbours() {
    let (x, dh) = (matrix(1, 60, 3072), matrix(2, 60, 1536));
    assert_same_bits(|| vec![swiglu(&x).unwrap(), swiglu_backward(&dh, &x).unwrap()]);
    let row = |t: &Tensor, i| t.narrow(0, i, 1).unwrap();
    let pieces: Vec<_> = (0..60).map(|i| swiglu(&row(&x, i)).unwrap()).collect();
    assert_is_pieces(&swiglu(&x).unwrap(), &pieces);
    let pieces: Vec<_> = (0..60).map(|i| swiglu_backward(&row(&dh, i), &row(&x, i)).unwrap()).collect();
    assert_is_pieces(&swiglu_backward(&dh, &x).unwrap(), &pieces);
}

#[test]
fn the_largest_gates_give_no_nonsense() {
    let x = Tensor::new(&[[-1e30f32, -100.0, 100.0, 1e30, 1.0, 1.0, 1.0, 1.0]], &Device::Cpu);
    let h = crate::common::values(&swiglu(&x.unwrap()).unwrap());
    assert_eq!(h, [0.0, 0.0, 100.0, 1e30]);
}
