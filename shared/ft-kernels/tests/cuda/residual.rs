use candle_core::Tensor;
use ft_kernels::residual::{add_scaled, reference, scaled};

use crate::common::{TYPES, assert_close, bound, exact, in_every_order, kernels, matrix};

#[test]
fn sums_are_the_reference() {
    for dtype in TYPES {
        for (rows, columns) in [(1, 1), (3, 7), (5, 1000), (2, 4096)] {
            let (base, y) = (matrix(1, rows, columns, dtype), matrix(2, rows, columns, dtype));
            let found = in_every_order(|| {
                let own = || y.copy().unwrap();
                vec![add_scaled(kernels(), &base, own(), 0.3).unwrap(), scaled(kernels(), own(), 0.3).unwrap()]
            });
            let factor = f64::from(0.3f32);
            let expected = (exact(&base) + (exact(&y) * factor).unwrap()).unwrap();
            assert_close(&found[0], &expected, bound(dtype));
            assert_close(&found[1], &reference::scaled(&exact(&y), 0.3).unwrap(), bound(dtype));
        }
    }
}

/// Rows that begin beside a pack of 16 bytes.
#[test]
fn views_may_begin_anywhere() {
    for dtype in TYPES {
        let (base, y) = (matrix(1, 5, 7, dtype), matrix(2, 5, 7, dtype));
        let rows = |t: &Tensor| t.narrow(0, 1, 3).unwrap();
        let found = add_scaled(kernels(), &rows(&base), rows(&y), 0.5).unwrap();
        let expected = (exact(&rows(&base)) + (exact(&rows(&y)) * 0.5).unwrap()).unwrap();
        assert_close(&found, &expected, bound(dtype));
    }
}
