use ft_kernels::columns::{join_heads, reference, split_heads};

use crate::common::{assert_is_pieces, assert_same_bits, autograd, bits, cpu, matrix, values};

const SHAPES: [(usize, usize, usize); 4] = [(1, 1, 1), (3, 2, 5), (40, 4, 16), (100, 12, 64)];

#[test]
fn both_are_the_reference_and_each_the_gradient_of_the_other() {
    for (rows, heads, head_dim) in SHAPES {
        let (x, dy) = (matrix(1, rows, 3 * heads * head_dim), matrix(2, rows, 3 * heads * head_dim));
        let split = split_heads(cpu(), &x, heads, head_dim).unwrap();
        assert_eq!(bits(&split), bits(&reference::split_heads(&x, heads, head_dim).unwrap()));
        assert_eq!(bits(&join_heads(cpu(), &split, heads, head_dim).unwrap()), bits(&x));
        let joined = join_heads(cpu(), &dy, heads, head_dim).unwrap();
        assert_eq!(bits(&joined), bits(&reference::join_heads(&dy, heads, head_dim).unwrap()));
        assert_eq!(bits(&joined), bits(&autograd(&x, &dy, |x| reference::split_heads(x, heads, head_dim))));
    }
}

#[test]
fn a_heads_three_parts_go_to_three_places() {
    let x = candle_core::Tensor::arange(0f32, 12f32, &candle_core::Device::Cpu).unwrap().reshape((1, 12)).unwrap();
    // q0 k0 v0 q1 k1 v1, two columns each
    let found = values(&split_heads(cpu(), &x, 2, 2).unwrap());
    assert_eq!(found, [0., 1., 6., 7., 2., 3., 8., 9., 4., 5., 10., 11.]);
}

#[test]
fn a_row_does_not_know_its_neighbours() {
    let x = matrix(1, 100, 2304);
    assert_same_bits(|c| vec![split_heads(c, &x, 12, 64).unwrap(), join_heads(c, &x, 12, 64).unwrap()]);
    let pieces: Vec<_> = (0..100).map(|i| split_heads(cpu(), &x.narrow(0, i, 1).unwrap(), 12, 64).unwrap()).collect();
    assert_is_pieces(&split_heads(cpu(), &x, 12, 64).unwrap(), &pieces);
}

#[test]
fn other_columns_are_refused() {
    let message = split_heads(cpu(), &matrix(1, 2, 10), 2, 2).unwrap_err().to_string();
    assert_eq!(message, "split_heads: x's columns is 10, expected 12");
}
