use ft_kernels::rope::{Direction, RopeTables, reference, rope};

use crate::common::{assert_close, assert_is_pieces, assert_same_bits, autograd, matrix, own, values};

fn frequencies(half: usize) -> Vec<f64> {
    (0..half).map(|i| 1e4f64.powf(-(i as f64) / half as f64)).collect()
}

/// Heads, head columns, turned pairs, columns that stay.
const SHAPES: [(usize, usize, usize, usize); 4] = [(1, 2, 1, 0), (3, 20, 10, 7), (2, 48, 16, 0), (12, 64, 32, 192)];

#[test]
fn forward_and_backward_are_the_reference_and_its_autograd() {
    for (heads, head_dim, half, rest) in SHAPES {
        let tables = RopeTables::for_sequences(&[0, 5, 5, 40], &frequencies(half), 1.0);
        let x = matrix(1, 40, heads * head_dim + rest);
        let dy = matrix(2, 40, heads * head_dim + rest);
        let turn = |x: &candle_core::Tensor| reference::rope(x, &tables, heads, head_dim, Direction::Forward);
        let found = rope(own(&x), &tables, heads, head_dim, Direction::Forward).unwrap();
        assert_close(&found, &turn(&x).unwrap(), 1e-6);
        let found = rope(own(&dy), &tables, heads, head_dim, Direction::Backward).unwrap();
        assert_close(&found, &autograd(&x, &dy, turn), 1e-6);
        let there = rope(own(&x), &tables, heads, head_dim, Direction::Forward).unwrap();
        let back = rope(there, &tables, heads, head_dim, Direction::Backward).unwrap();
        assert_close(&back, &x, 1e-6);
    }
}

#[test]
fn an_element_turns_with_its_partner_in_the_other_half() {
    let tables = RopeTables::new(&[3], &[0.5, 0.25], 2.0);
    let x = candle_core::Tensor::new(&[[1f32, 2., 3., 4.]], &candle_core::Device::Cpu).unwrap();
    let y = values(&rope(x, &tables, 1, 4, Direction::Forward).unwrap());
    let pair = |a: f64, b: f64, angle: f64| {
        let (sin, cos) = angle.sin_cos();
        ((2.0 * (a * cos - b * sin)) as f32, (2.0 * (b * cos + a * sin)) as f32)
    };
    let ((a, c), (b, d)) = (pair(1.0, 3.0, 1.5), pair(2.0, 4.0, 0.75));
    for (found, expected) in y.into_iter().zip([a, b, c, d]) {
        assert!((found - expected).abs() < 1e-5);
    }
}

#[test]
fn positions_restart_and_rows_do_not_know_their_neighbours() {
    let x = matrix(1, 600, 192);
    let starts = [0, 250, 600];
    let turn = |x: &candle_core::Tensor, starts: &[usize]| {
        let tables = RopeTables::for_sequences(starts, &frequencies(32), 1.0);
        rope(own(x), &tables, 3, 64, Direction::Forward).unwrap()
    };
    assert_same_bits(|| vec![turn(&x, &starts)]);
    let first = turn(&x.narrow(0, 0, 250).unwrap(), &[0, 250]);
    let second = turn(&x.narrow(0, 250, 350).unwrap(), &[0, 350]);
    assert_is_pieces(&turn(&x, &starts), &[first, second]);
}

#[test]
fn tables_of_another_length_are_refused() {
    let tables = RopeTables::for_sequences(&[0, 3], &frequencies(4), 1.0);
    let message = rope(matrix(1, 4, 8), &tables, 1, 8, Direction::Forward).unwrap_err().to_string();
    assert_eq!(message, "rope: x's rows is 4, expected 3");
}
