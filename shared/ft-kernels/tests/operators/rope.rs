use ft_kernels::Compute;
use ft_kernels::rope::{Direction, RopeTables, reference, rope};

use crate::common::{assert_close, assert_is_pieces, assert_same_bits, autograd, cpu, matrix, own, values};

fn frequencies(half: usize) -> Vec<f64> {
    (0..half).map(|i| 1e4f64.powf(-(i as f64) / half as f64)).collect()
}

/// Heads, head columns, turned pairs, columns that stay.
const SHAPES: [(usize, usize, usize, usize); 4] = [(1, 2, 1, 0), (3, 20, 10, 7), (2, 48, 16, 0), (12, 64, 32, 192)];

#[test]
fn forward_and_backward_are_the_reference_and_its_autograd() {
    for ((heads, head_dim, half, rest), pairs) in SHAPES.into_iter().flat_map(|shape| [(shape, false), (shape, true)]) {
        let tables = RopeTables::for_sequences(&[0, 5, 5, 40], &frequencies(half), 1.0).in_pairs(pairs);
        let x = matrix(1, 40, heads * head_dim + rest);
        let dy = matrix(2, 40, heads * head_dim + rest);
        let turn = |x: &candle_core::Tensor| reference::rope(x, &tables, heads, head_dim, Direction::Forward);
        let found = rope(cpu(), own(&x), &tables, heads, head_dim, Direction::Forward).unwrap();
        assert_close(&found, &turn(&x).unwrap(), 1e-6);
        let found = rope(cpu(), own(&dy), &tables, heads, head_dim, Direction::Backward).unwrap();
        assert_close(&found, &autograd(&x, &dy, turn), 1e-6);
        let there = rope(cpu(), own(&x), &tables, heads, head_dim, Direction::Forward).unwrap();
        let back = rope(cpu(), there, &tables, heads, head_dim, Direction::Backward).unwrap();
        assert_close(&back, &x, 1e-6);
    }
}

#[test]
fn an_element_turns_with_its_partner_in_the_other_half() {
    let tables = RopeTables::new(&[3], &[0.5, 0.25], 2.0);
    let x = candle_core::Tensor::new(&[[1f32, 2., 3., 4.]], &candle_core::Device::Cpu).unwrap();
    let y = values(&rope(cpu(), x, &tables, 1, 4, Direction::Forward).unwrap());
    let pair = |a: f64, b: f64, angle: f64| {
        let (sin, cos) = angle.sin_cos();
        ((2.0 * (a * cos - b * sin)) as f32, (2.0 * (b * cos + a * sin)) as f32)
    };
    let ((a, c), (b, d)) = (pair(1.0, 3.0, 1.5), pair(2.0, 4.0, 0.75));
    for (found, expected) in y.into_iter().zip([a, b, c, d]) {
        assert!((found - expected).abs() < 1e-5);
    }
}

/// A head in pairs is a head in halves whose elements stand in another order.
#[test]
fn in_pairs_an_element_turns_with_its_neighbour() {
    let (heads, head_dim, half, rest) = (3, 44, 17, 5);
    let tables = RopeTables::for_sequences(&[0, 5, 40], &frequencies(half), 1.5);
    let x = matrix(1, 40, heads * head_dim + rest);
    let found = rope(cpu(), own(&x), &tables.clone().in_pairs(true), heads, head_dim, Direction::Forward).unwrap();
    // Where in a row of halves each element of a row of pairs stands.
    let order: Vec<u32> = (0..heads * head_dim + rest)
        .map(|i| {
            let (first, inside) = (i / head_dim * head_dim, i % head_dim);
            let turns = i < heads * head_dim && inside < 2 * half;
            (if turns { first + inside % 2 * half + inside / 2 } else { i }) as u32
        })
        .collect();
    let mut back = vec![0u32; order.len()];
    order.iter().enumerate().for_each(|(i, &place)| back[place as usize] = i as u32);
    let reordered = |x: &candle_core::Tensor, order: &[u32]| {
        x.index_select(&candle_core::Tensor::new(order, x.device()).unwrap(), 1).unwrap()
    };
    let halves = rope(cpu(), reordered(&x, &back), &tables, heads, head_dim, Direction::Forward).unwrap();
    assert_is_pieces(&found, &[reordered(&halves, &order)]);
}

/// Partial rotary as its definition has it: the first columns are taken out of the head, turned as a
/// head of that width with halves of its own, and put back.
#[test]
fn a_narrower_table_turns_the_first_columns_as_a_head_of_their_width() {
    let (heads, head_dim, width, rest) = (3, 20, 8, 5);
    let tables = RopeTables::for_sequences(&[0, 5, 40], &frequencies(width / 2), 1.0);
    let x = matrix(1, 40, heads * head_dim + rest);
    let found = rope(cpu(), own(&x), &tables, heads, head_dim, Direction::Forward).unwrap();
    let mut expected = Vec::new();
    for head in 0..heads {
        let part = |column, count| x.narrow(1, head * head_dim + column, count).unwrap().contiguous().unwrap();
        expected.push(rope(cpu(), own(&part(0, width)), &tables, 1, width, Direction::Forward).unwrap());
        expected.push(part(width, head_dim - width));
    }
    expected.push(x.narrow(1, heads * head_dim, rest).unwrap());
    assert_close(&found, &candle_core::Tensor::cat(&expected, 1).unwrap(), 1e-7);
}

#[test]
fn joined_tables_turn_each_sequence_by_its_own_frequencies() {
    let x = matrix(1, 30, 48);
    let slow: Vec<f64> = frequencies(8).iter().map(|f| f / 8.0).collect();
    let tables = [
        RopeTables::for_sequences(&[0, 12], &frequencies(8), 1.0),
        RopeTables::for_sequences(&[0, 11, 18], &slow, 1.25),
    ];
    let [first, second] = tables.each_ref().map(Clone::clone);
    let all = RopeTables::join(vec![first, second]).unwrap();
    let whole = rope(cpu(), own(&x), &all, 3, 16, Direction::Forward).unwrap();
    let piece =
        |from, count, tables| rope(cpu(), own(&x.narrow(0, from, count).unwrap()), tables, 3, 16, Direction::Forward);
    assert_is_pieces(&whole, &[piece(0, 12, &tables[0]).unwrap(), piece(12, 18, &tables[1]).unwrap()]);
    assert_eq!(RopeTables::join(Vec::new()).unwrap().rows(), 0);
    let narrow = RopeTables::for_sequences(&[0, 3], &frequencies(4), 1.0);
    let message = RopeTables::join(vec![all, narrow]).unwrap_err().to_string();
    assert_eq!(message, "rope: inv_freq's length is 4, expected 8");
    let turned = |pairs| RopeTables::for_sequences(&[0, 3], &frequencies(4), 1.0).in_pairs(pairs);
    let message = RopeTables::join(vec![turned(true), turned(false)]).unwrap_err().to_string();
    assert_eq!(message, "rope: whether neighbours turn together is false, expected true");
}

#[test]
fn positions_restart_and_rows_do_not_know_their_neighbours() {
    let x = matrix(1, 600, 192);
    let starts = [0, 250, 600];
    for pairs in [false, true] {
        let turn = |c: Compute, x: &candle_core::Tensor, starts: &[usize]| {
            let tables = RopeTables::for_sequences(starts, &frequencies(32), 1.0).in_pairs(pairs);
            rope(c, own(x), &tables, 3, 64, Direction::Forward).unwrap()
        };
        assert_same_bits(|c| vec![turn(c, &x, &starts)]);
        let first = turn(cpu(), &x.narrow(0, 0, 250).unwrap(), &[0, 250]);
        let second = turn(cpu(), &x.narrow(0, 250, 350).unwrap(), &[0, 350]);
        assert_is_pieces(&turn(cpu(), &x, &starts), &[first, second]);
    }
}

#[test]
fn tables_of_another_length_are_refused() {
    let tables = RopeTables::for_sequences(&[0, 3], &frequencies(4), 1.0);
    let message = rope(cpu(), matrix(1, 4, 8), &tables, 1, 8, Direction::Forward).unwrap_err().to_string();
    assert_eq!(message, "rope: x's rows is 4, expected 3");
}
