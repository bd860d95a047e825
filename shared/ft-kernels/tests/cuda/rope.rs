use candle_core::Tensor;
use ft_kernels::rope::{Direction, RopeTables, reference, rope};

use crate::common::{
    TYPES, assert_close, assert_rows_are_alone, autograd, bits, bound, exact, in_every_order, kernels, matrix, part,
};

/// Columns of a row, heads that turn, columns of a head, pairs of it that turn.
const SHAPES: [(usize, usize, usize, usize); 4] =
    [(3 * 64, 2, 64, 32), (5 * 16, 5, 16, 8), (40, 3, 10, 3), (100, 2, 48, 16)];

fn tables(rows: usize, half: usize) -> RopeTables {
    let frequencies: Vec<f64> = (0..half).map(|i| 10_000f64.powf(-(i as f64) / half as f64)).collect();
    RopeTables::new(&(0..rows as u32).map(|i| i * 7).collect::<Vec<_>>(), &frequencies, 1.0)
}

#[test]
fn rotations_are_the_reference_and_its_autograd() {
    for (dtype, pairs) in TYPES.into_iter().flat_map(|dtype| [(dtype, false), (dtype, true)]) {
        for (columns, heads, head_dim, half) in SHAPES {
            let (x, dy) = (matrix(1, 5, columns, dtype), matrix(2, 5, columns, dtype));
            let tables = tables(5, half).in_pairs(pairs);
            let turn = |x: &Tensor, direction| rope(kernels(), x.copy().unwrap(), &tables, heads, head_dim, direction);
            let found =
                in_every_order(|| vec![turn(&x, Direction::Forward).unwrap(), turn(&dy, Direction::Backward).unwrap()]);
            let plain = |x: &Tensor| reference::rope(x, &tables, heads, head_dim, Direction::Forward);
            assert_close(&found[0], &plain(&exact(&x)).unwrap(), bound(dtype));
            assert_close(&found[1], &autograd(&x, &dy, plain), bound(dtype));
        }
    }
}

#[test]
fn a_row_does_not_know_its_neighbours_and_other_columns_stay() {
    for dtype in TYPES {
        let x = matrix(1, 4, 192, dtype);
        let frequencies = [1.0, 0.1, 0.01, 0.001];
        assert_rows_are_alone(4, |rows| {
            let tables = RopeTables::new(&rows.clone().map(|i| i as u32).collect::<Vec<_>>(), &frequencies, 1.0);
            let y = rope(kernels(), part(&x, &rows), &tables, 4, 32, Direction::Forward).unwrap();
            let rest = |t: &Tensor| t.narrow(1, 128, 64).unwrap().contiguous().unwrap();
            assert_eq!(bits(&rest(&y)), bits(&rest(&part(&x, &rows))));
            vec![y]
        });
    }
}
