use candle_core::{DType, Tensor};
use ft_kernels::head_norm::{self, head_norm, head_norm_backward};
use ft_kernels::norm::{layer_norm, layer_norm_backward_add, reference, rms_norm, rms_norm_backward_add};

use crate::common::{
    TYPES, assert_close, assert_rows_are_alone, autograd, bound, exact, in_every_order, kernels, matrix, part, vector,
};

const EPS: f64 = 1e-5;
/// One element, not whole packs, one pack, more than a warp's and more than a block's share.
const SHAPES: [(usize, usize); 6] = [(1, 1), (3, 7), (5, 16), (2, 65), (3, 576), (2, 4104)];

fn inputs(rows: usize, columns: usize, dtype: DType) -> [Tensor; 3] {
    [1, 2, 3].map(|seed| matrix(seed, rows, columns, dtype))
}

#[test]
fn root_mean_square_norms_are_the_reference_and_its_autograd() {
    for dtype in TYPES {
        for (rows, columns) in SHAPES {
            let ([x, dy, around], w) = (inputs(rows, columns, dtype), vector(4, columns));
            let found = in_every_order(|| {
                let y = rms_norm(kernels(), &x, &w, EPS).unwrap();
                vec![y, rms_norm_backward_add(kernels(), &dy, &x, &w, EPS, &around).unwrap()]
            });
            assert_close(&found[0], &reference::rms_norm(&exact(&x), &exact(&w), EPS).unwrap(), bound(dtype));
            let dx = autograd(&x, &dy, |x| reference::rms_norm(x, &exact(&w), EPS));
            assert_close(&found[1], &(dx + exact(&around)).unwrap(), bound(dtype));
        }
    }
}

#[test]
fn layer_norms_are_the_reference_and_its_autograd() {
    for dtype in TYPES {
        for (rows, columns) in SHAPES.into_iter().skip(1) {
            let ([x, dy, around], w, b) = (inputs(rows, columns, dtype), vector(4, columns), vector(5, columns));
            for (b, around) in [(Some(&b), Some(&around)), (None, None)] {
                let found = in_every_order(|| {
                    let y = layer_norm(kernels(), &x, &w, b, EPS).unwrap();
                    vec![y, layer_norm_backward_add(kernels(), &dy, &x, &w, EPS, around).unwrap()]
                });
                let (w, b) = (exact(&w), b.map(exact));
                assert_close(&found[0], &reference::layer_norm(&exact(&x), &w, b.as_ref(), EPS).unwrap(), bound(dtype));
                let dx = autograd(&x, &dy, |x| reference::layer_norm(x, &w, b.as_ref(), EPS));
                let expected = around.map_or(dx.clone(), |around| (dx + exact(around)).unwrap());
                assert_close(&found[1], &expected, bound(dtype));
            }
        }
    }
}

/// Heads beside others' columns; one group of all of them; a head of an odd width.
const HEADS: [(usize, usize, usize, usize); 3] = [(200, 8, 3, 64), (192, 0, 1, 128), (40, 5, 4, 7)];

#[test]
fn norms_of_heads_are_the_reference_and_its_autograd() {
    for dtype in TYPES {
        for (columns, first, groups, width) in HEADS {
            let ([x, dy, _], w) = (inputs(3, columns, dtype), vector(4, width));
            let found = in_every_order(|| {
                let y = head_norm(kernels(), x.copy().unwrap(), &w, first, groups, EPS).unwrap();
                vec![y, head_norm_backward(kernels(), dy.copy().unwrap(), &x, &w, first, groups, EPS).unwrap()]
            });
            let plain = |x: &Tensor| head_norm::reference::head_norm(x, &exact(&w), first, groups, EPS);
            assert_close(&found[0], &plain(&exact(&x)).unwrap(), bound(dtype));
            assert_close(&found[1], &autograd(&x, &dy, plain), bound(dtype));
        }
    }
}

#[test]
fn a_row_does_not_know_its_neighbours() {
    for dtype in TYPES {
        for columns in [65, 576] {
            let ([x, dy, around], w) = (inputs(6, columns, dtype), vector(4, columns));
            assert_rows_are_alone(6, |rows| {
                let [x, dy, around] = [&x, &dy, &around].map(|t| part(t, &rows));
                vec![
                    rms_norm(kernels(), &x, &w, EPS).unwrap(),
                    rms_norm_backward_add(kernels(), &dy, &x, &w, EPS, &around).unwrap(),
                    layer_norm(kernels(), &x, &w, None, EPS).unwrap(),
                    layer_norm_backward_add(kernels(), &dy, &x, &w, EPS, Some(&around)).unwrap(),
                ]
            });
        }
    }
}
