use ft_kernels::optim::{AdamW, adamw_step, scale_in_place, sum_of_squares};

use crate::common::{assert_same_bits, numbers};
use candle_core::{Device, Tensor};

const SETTINGS: AdamW = AdamW { lr: 1e-2, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1, step: 1 };

#[test]
fn steps_follow_the_formula() {
    let len = 1003;
    let mut param = numbers(1, len);
    let (mut m, mut v) = (vec![0f32; len], vec![0f32; len]);
    let mut exact: Vec<[f64; 3]> = param.iter().map(|&p| [f64::from(p), 0.0, 0.0]).collect();
    for step in 1..=20 {
        let grad = numbers(100 + step, len);
        let a = AdamW { step, ..SETTINGS };
        adamw_step(&mut param, &grad, &mut m, &mut v, a);
        let n = i32::try_from(step).unwrap();
        for ([p, m, v], &g) in exact.iter_mut().zip(&grad) {
            let g = f64::from(g);
            *p *= 1.0 - a.lr * a.weight_decay;
            *m = a.beta1 * *m + (1.0 - a.beta1) * g;
            *v = a.beta2 * *v + (1.0 - a.beta2) * g * g;
            let (m, v) = (*m / (1.0 - a.beta1.powi(n)), *v / (1.0 - a.beta2.powi(n)));
            *p -= a.lr * m / (v.sqrt() + a.eps);
        }
    }
    for ([p, m1, v1], ((&param, &m), &v)) in exact.iter().zip(param.iter().zip(&m).zip(&v)) {
        assert!((f64::from(param) - p).abs() < 1e-5);
        assert!((f64::from(m) - m1).abs() < 1e-6 && (f64::from(v) - v1).abs() < 1e-6 * v1);
    }
}

#[test]
fn a_gradient_of_zero_only_decays() {
    let mut param = vec![2.0f32; 40];
    let (mut m, mut v) = (vec![0f32; 40], vec![0f32; 40]);
    adamw_step(&mut param, &[0.0; 40], &mut m, &mut v, SETTINGS);
    assert!(param.iter().all(|&p| p == 2.0 * (1.0 - 1e-3)));
}

#[test]
fn sums_and_steps_do_not_know_the_threads() {
    let len = 300_001;
    assert_same_bits(|| {
        let mut param = numbers(1, len);
        let (mut m, mut v) = (vec![0f32; len], vec![1f32; len]);
        let grad = numbers(2, len);
        adamw_step(&mut param, &grad, &mut m, &mut v, SETTINGS);
        scale_in_place(&mut m, 0.3);
        let sum = sum_of_squares(&grad).to_bits();
        let sum = [f32::from_bits(sum as u32), f32::from_bits((sum >> 32) as u32)];
        [param.as_slice(), &m, &v, &sum].map(|x| Tensor::new(x, &Device::Cpu).unwrap()).into()
    });
}

#[test]
fn the_sum_of_squares_is_exact_enough() {
    let values = numbers(1, 100_003);
    let exact: f64 = values.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    assert!((sum_of_squares(&values) - exact).abs() < 1e-9 * exact);
    assert!(sum_of_squares(&[]) == 0.0);
}
