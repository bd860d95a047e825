use candle_core::{Device, Tensor};
use ft_kernels::Compute;
use ft_kernels::activation::{
    Activation, Xielu, gated, gated_backward_inplace, plain, plain_backward_inplace, reference,
};

use crate::common::{
    assert_close, assert_close_f64, assert_is_pieces, assert_same_bits, autograd, cpu, differences, matrix, own, values,
};

const XIELU: Xielu = Xielu { positive: 0.7, negative: 1.3, beta: 0.45, eps: -1e-6 };
const ALL: [Activation; 6] = [
    Activation::Silu,
    Activation::GeluTanh,
    Activation::Gelu,
    Activation::Relu,
    Activation::ReluSquared,
    Activation::Xielu(XIELU),
];
const SHAPES: [(usize, usize); 5] = [(1, 1), (3, 7), (5, 16), (2, 65), (100, 1536)];

/// The activation in f64.
fn exact(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            x / (1.0 + (-2.0 * inner).exp())
        }
        Activation::Gelu => x * below(x),
        Activation::Relu => x.max(0.0),
        Activation::ReluSquared => x.max(0.0).powi(2),
        Activation::Xielu(of) => {
            let [positive, negative, beta, eps] = [of.positive, of.negative, of.beta, of.eps].map(f64::from);
            beta * x + if x > 0.0 { positive * x * x } else { negative * (x.min(eps).exp_m1() - x) }
        }
    }
}

/// The normal distribution function: by its series near 0 (Marsaglia 2004, "Evaluating the normal
/// distribution"), by its continued fraction elsewhere.
fn below(x: f64) -> f64 {
    let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    if x.abs() < 3.0 {
        let (mut term, mut sum) = (x, x);
        for i in 1..100 {
            term *= x * x / f64::from(2 * i + 1);
            sum += term;
        }
        return 0.5 + density * sum;
    }
    let fraction = (1..300).rev().fold(0.0, |f, i| f64::from(i) / (x.abs() + f));
    let tail = density / (x.abs() + fraction);
    if x < 0.0 { tail } else { 1.0 - tail }
}

#[test]
fn gated_ones_are_the_reference_and_its_autograd() {
    for activation in ALL {
        for (rows, inter) in SHAPES {
            let (x, dh) = (matrix(1, rows, 2 * inter), matrix(2, rows, inter));
            let expected = reference::gated(&x, activation).unwrap();
            assert_close(&gated(cpu(), &x, activation).unwrap(), &expected, 1e-6);
            let expected = autograd(&x, &dh, |x| reference::gated(x, activation));
            assert_close(&reference::gated_backward(&dh, &x, activation).unwrap(), &expected, 1e-6);
            assert_close(&gated_backward_inplace(cpu(), &dh, own(&x), activation).unwrap(), &expected, 1e-6);
        }
    }
}

#[test]
fn plain_ones_are_the_reference_and_its_autograd() {
    for activation in ALL {
        for (rows, columns) in SHAPES {
            let (x, dh) = (matrix(1, rows, columns), matrix(2, rows, columns));
            let expected = reference::plain(&x, activation).unwrap();
            assert_close(&plain(cpu(), &x, activation).unwrap(), &expected, 1e-6);
            let expected = autograd(&x, &dh, |x| reference::plain(x, activation));
            assert_close(&reference::plain_backward(&dh, &x, activation).unwrap(), &expected, 1e-6);
            assert_close(&plain_backward_inplace(cpu(), &dh, own(&x), activation).unwrap(), &expected, 1e-6);
        }
    }
}

#[test]
fn backward_is_the_finite_difference() {
    let (x, dh) = (matrix(1, 3, 18), matrix(2, 3, 9));
    for activation in ALL {
        let formula = |x: &[f64]| {
            let rows = x.chunks(18).flat_map(|row| {
                let (gate, up) = row.split_at(9);
                gate.iter().zip(up).map(|(&g, u)| exact(activation, g) * u)
            });
            rows.collect()
        };
        let found = gated_backward_inplace(cpu(), &dh, own(&x), activation).unwrap();
        assert_close_f64(&found, &differences(&x, &dh, formula), 1e-6);
        let wide = matrix(3, 3, 18);
        let formula = |x: &[f64]| x.iter().map(|&x| exact(activation, x)).collect();
        let found = plain_backward_inplace(cpu(), &wide, own(&x), activation).unwrap();
        assert_close_f64(&found, &differences(&x, &wide, formula), 1e-6);
    }
}

#[test]
fn gelu_is_exact_to_the_last_digits() {
    let x: Vec<f32> = (-90_000..90_000).map(|i| i as f32 * 1e-4).collect();
    let y = values(&plain(cpu(), &Tensor::new(x.as_slice(), &Device::Cpu).unwrap(), Activation::Gelu).unwrap());
    for (x, y) in x.into_iter().zip(y) {
        let (x, y) = (f64::from(x), f64::from(y));
        let expected = exact(Activation::Gelu, x);
        let difference = (y - expected).abs();
        assert!(difference <= 1.3e-7 * x.abs(), "gelu({x}): found {y}, expected {expected}");
        assert!(difference <= 5e-7 * expected.abs(), "gelu({x}): found {y}, expected {expected}");
    }
}

#[test]
fn xielu_keeps_its_digits_around_the_tangent() {
    let x: Vec<f32> = (-60_000..20_000).map(|i| i as f32 * 1e-4).chain([-1e-7, -1e-6, -2e-6, -1e-5, 1e-7]).collect();
    let tensor = Tensor::new(x.as_slice(), &Device::Cpu).unwrap();
    let activation = Activation::Xielu(XIELU);
    let y = values(&plain(cpu(), &tensor, activation).unwrap());
    let ones = tensor.ones_like().unwrap();
    let slopes = values(&plain_backward_inplace(cpu(), &ones, own(&tensor), activation).unwrap());
    for ((x, y), slope) in x.into_iter().zip(y).zip(slopes) {
        let x = f64::from(x);
        let bent = exact(activation, x) - f64::from(XIELU.beta) * x;
        let size = bent.abs() + f64::from(XIELU.beta) * x.abs();
        assert!((f64::from(y) - exact(activation, x)).abs() <= 3e-7 * size, "xielu({x}): found {y}");
        let [positive, negative, beta, eps] = [XIELU.positive, XIELU.negative, XIELU.beta, XIELU.eps].map(f64::from);
        let grows = if x < eps { x.exp() } else { 0.0 };
        let expected = beta + if x > 0.0 { 2.0 * positive * x } else { negative * (grows - 1.0) };
        assert!((f64::from(slope) - expected).abs() <= 1e-6, "xielu'({x}): found {slope}, expected {expected}");
    }
}

#[test]
fn a_row_does_not_know_its_neighbours() {
    let (x, dh) = (matrix(1, 60, 3074), matrix(2, 60, 1537));
    for activation in ALL {
        let all = |c: Compute, x: &Tensor, dh: &Tensor| {
            let h = gated(c, x, activation).unwrap();
            let dx = gated_backward_inplace(c, dh, own(x), activation).unwrap();
            [h, dx, plain(c, x, activation).unwrap(), plain_backward_inplace(c, x, own(x), activation).unwrap()]
        };
        assert_same_bits(|c| all(c, &x, &dh).into());
        let row = |t: &Tensor, i| t.narrow(0, i, 1).unwrap();
        let pieces: Vec<_> = (0..60).map(|i| all(cpu(), &row(&x, i), &row(&dh, i))).collect();
        for (i, whole) in all(cpu(), &x, &dh).iter().enumerate() {
            assert_is_pieces(whole, &pieces.iter().map(|piece| piece[i].clone()).collect::<Vec<_>>());
        }
    }
}

#[test]
fn the_largest_inputs_give_no_nonsense() {
    let x = Tensor::new(&[[-1e30f32, -100.0, 100.0, 1e30, f32::NAN]], &Device::Cpu).unwrap();
    let ones = x.ones_like().unwrap();
    let found = values(&plain(cpu(), &x, Activation::ReluSquared).unwrap());
    assert_eq!(found[..4], [0.0, 0.0, 1e4, f32::INFINITY]);
    assert!(found[4].is_nan());
    let linear = Activation::Xielu(Xielu { positive: 0.0, ..XIELU });
    let found = values(&plain(cpu(), &x, linear).unwrap());
    assert!((found[0] / ((0.45 - 1.3) * -1e30) - 1.0).abs() < 1e-6 && found[4].is_nan(), "{found:?}");
    for activation in &ALL[..4] {
        let activation = *activation;
        let y = values(&plain(cpu(), &x, activation).unwrap());
        assert_eq!(y[..4], [0.0, 0.0, 100.0, 1e30], "{activation:?}");
        assert!(y[4].is_nan(), "{activation:?}");
        let dx = values(&plain_backward_inplace(cpu(), &ones, own(&x), activation).unwrap());
        assert_eq!(dx[..4], [0.0, 0.0, 1.0, 1.0], "{activation:?}");
    }
}

#[test]
fn gates_of_an_odd_number_of_columns_are_refused() {
    let message = gated(cpu(), &matrix(1, 2, 5), Activation::Silu).unwrap_err().to_string();
    assert_eq!(message, "gated activation: gate_up's columns is 5, expected \"an even number\"");
}
