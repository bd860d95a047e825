use candle_core::{DType, Tensor};
use ft_kernels::activation::{
    Activation, Xielu, gated, gated_backward_inplace, plain, plain_backward_inplace, reference,
};

use crate::common::{
    TYPES, assert_close, assert_rows_are_alone, autograd, bound, device, exact, in_every_order, kernels, matrix, part,
};

const ALL: [Activation; 6] = [
    Activation::Silu,
    Activation::GeluTanh,
    Activation::Gelu,
    Activation::Relu,
    Activation::ReluSquared,
    Activation::Xielu(Xielu { positive: 0.7, negative: 0.9, beta: 0.5, eps: -1e-6 }),
];
const SHAPES: [(usize, usize); 5] = [(1, 1), (3, 7), (5, 16), (2, 1100), (3, 2048)];

#[test]
fn activations_are_the_reference_and_its_autograd() {
    for dtype in TYPES {
        for activation in ALL {
            for (rows, inter) in SHAPES {
                let (x, dh) = (matrix(1, rows, 2 * inter, dtype), matrix(2, rows, inter, dtype));
                let gate = x.narrow(1, 0, inter).unwrap().contiguous().unwrap();
                let found = in_every_order(|| {
                    vec![
                        gated(kernels(), &x, activation).unwrap(),
                        gated_backward_inplace(kernels(), &dh, x.copy().unwrap(), activation).unwrap(),
                        plain(kernels(), &gate, activation).unwrap(),
                        plain_backward_inplace(kernels(), &dh, gate.copy().unwrap(), activation).unwrap(),
                    ]
                });
                assert_close(&found[0], &reference::gated(&exact(&x), activation).unwrap(), bound(dtype));
                assert_close(&found[1], &autograd(&x, &dh, |x| reference::gated(x, activation)), bound(dtype));
                assert_close(&found[2], &reference::plain(&exact(&gate), activation).unwrap(), bound(dtype));
                assert_close(&found[3], &autograd(&gate, &dh, |x| reference::plain(x, activation)), bound(dtype));
            }
        }
    }
}

#[test]
fn a_row_does_not_know_its_neighbours() {
    for dtype in TYPES {
        let (x, dh) = (matrix(1, 4, 2 * 1032, dtype), matrix(2, 4, 1032, dtype));
        assert_rows_are_alone(4, |rows| {
            let (x, dh) = (part(&x, &rows), part(&dh, &rows));
            let h = gated(kernels(), &x, Activation::Silu).unwrap();
            vec![h, gated_backward_inplace(kernels(), &dh, x, Activation::Silu).unwrap()]
        });
    }
}

#[test]
fn the_largest_inputs_give_no_nonsense() {
    let x = Tensor::new(&[[-1e30f32, -100.0, 100.0, 1e30, f32::NAN]], &device()).unwrap();
    let ones = x.ones_like().unwrap();
    // The last two grow with the square, or are no zero below.
    for activation in &ALL[..4] {
        let activation = *activation;
        let y = plain(kernels(), &x, activation).unwrap().to_vec2::<f32>().unwrap().remove(0);
        assert_eq!(y[..4], [0.0, 0.0, 100.0, 1e30], "{activation:?}");
        assert!(y[4].is_nan(), "{activation:?}");
        let dx = plain_backward_inplace(kernels(), &ones, x.copy().unwrap(), activation).unwrap();
        assert_eq!(dx.to_vec2::<f32>().unwrap()[0][..4], [0.0, 0.0, 1.0, 1.0], "{activation:?}");
    }
    let none = Tensor::zeros((0, 8), DType::F32, &device()).unwrap();
    assert_eq!(gated(kernels(), &none, Activation::Silu).unwrap().dims(), [0, 4]);
}
