use std::collections::HashMap;

use ft_kernels::backend::Isa;
use ft_kernels::optim::{
    AdamW, BLOCK, Codes, DynamicMap, Lion, Sgd, adamw_8bit_step, adamw_step, lion_8bit_step, lion_step, reference,
    scale_in_place, sgd_step, squares_of_blocks,
};

use crate::common::{assert_same_bits, numbers};
use candle_core::{DType, Device, Tensor};

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
        adamw_step(Isa::best(), &mut param, &grad, &mut m, &mut v, a);
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
    adamw_step(Isa::best(), &mut param, &[0.0; 40], &mut m, &mut v, SETTINGS);
    assert!(param.iter().all(|&p| p == 2.0 * (1.0 - 1e-3)));
}

#[test]
fn sums_and_steps_do_not_know_the_threads() {
    let len = 300_001;
    assert_same_bits(|compute| {
        let mut param = numbers(1, len);
        let (mut m, mut v) = (vec![0f32; len], vec![1f32; len]);
        let grad = numbers(2, len);
        adamw_step(compute.isa, &mut param, &grad, &mut m, &mut v, SETTINGS);
        scale_in_place(&mut m, 0.3);
        let sums = squares_of_blocks(&grad).into_iter().map(f64::to_bits);
        let sum: Vec<f32> = sums.flat_map(|s| [f32::from_bits(s as u32), f32::from_bits((s >> 32) as u32)]).collect();
        [param.as_slice(), &m, &v, &sum].map(|x| Tensor::new(x, &Device::Cpu).unwrap()).into()
    });
}

#[test]
fn the_sums_of_squares_are_exact_enough_and_those_of_the_blocks() {
    let values = numbers(1, 100_003);
    let exact: f64 = values.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    let sums = squares_of_blocks(&values);
    assert!((sums.iter().sum::<f64>() - exact).abs() < 1e-9 * exact);
    let (head, tail) = values.split_at(5 * BLOCK);
    assert_eq!(sums, [squares_of_blocks(head), squares_of_blocks(tail)].concat());
    assert!(squares_of_blocks(&[]).is_empty());
}

/// The moments of one tensor, whatever the optimizer keeps.
#[derive(Clone, Default)]
struct Moments {
    floats: [Vec<f32>; 2],
    codes: [Vec<u8>; 2],
    scales: [Vec<f32>; 2],
}

impl Moments {
    fn zero(len: usize) -> Self {
        let (floats, codes, scales) = (vec![0f32; len], vec![0u8; len], vec![0f32; len.div_ceil(BLOCK)]);
        Self { floats: [floats.clone(), floats], codes: [codes.clone(), codes], scales: [scales.clone(), scales] }
    }

    fn codes(&mut self, i: usize) -> Codes<'_> {
        Codes { codes: &mut self.codes[i], scales: &mut self.scales[i] }
    }

    fn both_codes(&mut self) -> [Codes<'_>; 2] {
        let ([a, b], [x, y]) = (&mut self.codes, &mut self.scales);
        [Codes { codes: a, scales: x }, Codes { codes: b, scales: y }]
    }
}

/// The optimizers of the reference values, with 8 bits from 4096 elements on, as bitsandbytes has it.
const NAMES: [&str; 8] = [
    "adamw_torch",
    "paged_adamw_32bit",
    "adamw_8bit",
    "sgd",
    "sgd_momentum",
    "sgd_nesterov",
    "lion_32bit",
    "lion_8bit",
];

/// One step of an optimizer by its name, fused with some instructions, or as the plain reference.
fn take(
    name: &str,
    isa: Option<Isa>,
    param: &mut [f32],
    grad: &[f32],
    moments: &mut Moments,
    settings: [f64; 2],
    step: u64,
) {
    let [lr, weight_decay] = settings;
    let adamw = AdamW { lr, weight_decay, step, ..SETTINGS };
    let lion = Lion { lr, beta1: 0.9, beta2: 0.99, weight_decay };
    let (momentum, dampening, nesterov) = match name {
        "sgd_momentum" => (0.9, 0.1, false),
        "sgd_nesterov" => (0.8, 0.0, true),
        _ => (0.0, 0.0, false),
    };
    let sgd = Sgd { lr, momentum, dampening, nesterov, weight_decay, step };
    let small = param.len() < 4096;
    match name {
        "adamw_8bit" if !small => {
            let [m, v] = moments.both_codes();
            if let Some(isa) = isa {
                adamw_8bit_step(isa, param, grad, m, v, adamw);
            } else {
                reference::adamw_8bit_step(param, grad, m, v, adamw);
            }
        }
        "lion_8bit" if !small => {
            if let Some(isa) = isa {
                lion_8bit_step(isa, param, grad, moments.codes(0), lion);
            } else {
                reference::lion_8bit_step(param, grad, moments.codes(0), lion);
            }
        }
        _ if name.contains("adamw") => {
            let [m, v] = &mut moments.floats;
            if let Some(isa) = isa {
                adamw_step(isa, param, grad, m, v, adamw);
            } else {
                reference::adamw_step(param, grad, m, v, adamw);
            }
        }
        _ if name.contains("lion") => {
            if let Some(isa) = isa {
                lion_step(isa, param, grad, &mut moments.floats[0], lion);
            } else {
                reference::lion_step(param, grad, &mut moments.floats[0], lion);
            }
        }
        _ => {
            if let Some(isa) = isa {
                sgd_step(isa, param, grad, &mut moments.floats[0], sgd);
            } else {
                reference::sgd_step(param, grad, &mut moments.floats[0], sgd);
            }
        }
    }
}

/// What `scripts/make_optimizer_reference.py` wrote.
struct Reference(HashMap<String, Tensor>);

impl Reference {
    fn load() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/optimizers/reference.safetensors");
        Self(candle_core::safetensors::load(path, &Device::Cpu).unwrap())
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.0[name].flatten_all().unwrap().to_vec1().unwrap()
    }

    fn find(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }
}

/// Equal to one millionth: of the number itself or, where it is what is left of larger ones, of those.
fn assert_near(found: &[f32], expected: &[f32], larger: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (x, y)) in found.iter().zip(expected).enumerate() {
        let size = larger.get(i).map_or(y.abs(), |larger| larger.abs().max(y.abs()));
        assert!((x - y).abs() <= 1e-6 * size, "{what}, element {i}: {x}, expected {y}");
    }
}

#[test]
fn twelve_steps_are_those_of_torch_and_bitsandbytes() {
    let theirs = Reference::load();
    let mut codes = 0;
    for name in NAMES {
        for key in ["a", "bias", "b", "c"] {
            let start = theirs.floats(&format!("start.{key}"));
            let mut param = start.clone();
            let mut moments = Moments::zero(param.len());
            // What a gradient brings into AdamW's first moment, at most.
            let mut entered = vec![0f32; param.len()];
            for step in 1..=12u64 {
                let lr = 2e-3 * (1.0 - (step - 1) as f64 / 12.0);
                let decay = if key == "bias" { 0.0 } else { 0.05 };
                let grad = theirs.floats(&format!("grad{step}.{key}"));
                take(name, Some(Isa::best()), &mut param, &grad, &mut moments, [lr, decay], step);
                entered.iter_mut().zip(&grad).for_each(|(e, g)| *e = e.max(0.1 * g.abs()));
                if step == 1 || step == 12 {
                    let what = format!("{name}.step{step}.{key}");
                    assert_near(&param, &theirs.floats(&what), &start, &what);
                }
            }
            for (i, kinds) in
                [["exp_avg", "state1", "momentum_buffer"], ["exp_avg_sq", "state2", "-"]].iter().enumerate()
            {
                for kind in kinds {
                    let what = format!("{name}.state.{key}.{kind}");
                    match theirs.find(&what) {
                        Some(expected) if expected.dtype() == DType::U8 => {
                            let expected: Vec<u8> = expected.flatten_all().unwrap().to_vec1().unwrap();
                            assert_eq!(moments.codes[i], expected, "{what}");
                            codes += expected.len();
                            let scales = format!("{name}.state.{key}.absmax{}", i + 1);
                            assert_near(&moments.scales[i], &theirs.floats(&scales), &[], &scales);
                        }
                        Some(_) => {
                            let larger = if i == 0 { entered.as_slice() } else { &[] };
                            assert_near(&moments.floats[i], &theirs.floats(&what), larger, &what);
                        }
                        None => {}
                    }
                }
            }
        }
    }
    assert_eq!(codes, 3 * (64 * 72 + 17 * 301), "both moments of AdamW, one of Lion, of two tensors");
}

#[test]
fn the_maps_are_those_of_bitsandbytes() {
    let theirs = Reference::load();
    assert_eq!(DynamicMap::signed().values().as_slice(), theirs.floats("map.signed"));
    assert_eq!(DynamicMap::unsigned().values().as_slice(), theirs.floats("map.unsigned"));
}

/// Every number of 16 bits of precision within ±1, and the neighbours of all the points half way.
#[test]
fn a_code_is_the_nearest_of_all() {
    for map in [DynamicMap::signed(), DynamicMap::unsigned()] {
        let halves = map.values().windows(2).flat_map(|pair| {
            let half = f32::midpoint(pair[0], pair[1]);
            [half.next_down(), half, half.next_up()]
        });
        let grid = (0..0x3f80u32).flat_map(|upper| [upper << 16, upper << 16 | 0xffff]).map(f32::from_bits);
        for x in halves.chain(grid.flat_map(|x| [x, -x])).chain([1.0, -1.0]) {
            let distance = |value: f32| (x - value).abs();
            let nearest = map.values().iter().map(|&value| distance(value)).fold(f32::INFINITY, f32::min);
            let code = map.code(x) as usize;
            assert_eq!(distance(map.values()[code]), nearest, "{x}");
            assert!(code == 0 || distance(map.values()[code - 1]) > nearest, "{x}: the lower of two equally near ones");
        }
        map.code(f32::NAN);
    }
}

#[test]
fn fused_steps_have_the_bits_of_the_plain_ones() {
    for len in [1, 255, 256, 4095, 5003, 70_001] {
        for name in NAMES {
            let (mut fused, mut plain) = (numbers(1, len), numbers(1, len));
            let (mut fused_moments, mut plain_moments) = (Moments::zero(len), Moments::zero(len));
            for step in 1..=3 {
                let grad = numbers(10 + step, len);
                take(name, Some(Isa::best()), &mut fused, &grad, &mut fused_moments, [1e-2, 0.1], step);
                take(name, None, &mut plain, &grad, &mut plain_moments, [1e-2, 0.1], step);
            }
            assert_eq!(fused, plain, "{name} of {len}");
            assert_eq!(fused_moments.floats, plain_moments.floats, "{name} of {len}");
            assert_eq!(fused_moments.codes, plain_moments.codes, "{name} of {len}");
            assert_eq!(fused_moments.scales, plain_moments.scales, "{name} of {len}");
        }
    }
}

#[test]
fn steps_know_neither_threads_nor_instructions() {
    let len = 140_003;
    for name in NAMES {
        assert_same_bits(|compute| {
            let mut param = numbers(1, len);
            let mut moments = Moments::zero(len);
            for step in 1..=2 {
                take(name, Some(compute.isa), &mut param, &numbers(5 + step, len), &mut moments, [1e-2, 0.1], step);
            }
            let codes = moments.codes.iter().map(|codes| codes.iter().map(|&c| f32::from(c)).collect::<Vec<_>>());
            let all = [param].into_iter().chain(moments.floats).chain(moments.scales).chain(codes);
            all.map(|x| Tensor::new(x, &Device::Cpu).unwrap()).collect()
        });
    }
}

#[test]
fn a_step_is_the_same_in_pieces_of_whole_blocks() {
    let len = 5000;
    let (mut whole, grad) = (numbers(1, len), numbers(2, len));
    let mut moments = Moments::zero(len);
    let [m, v] = moments.both_codes();
    adamw_8bit_step(Isa::best(), &mut whole, &grad, m, v, SETTINGS);
    let mut param = numbers(1, len);
    let mut pieces = Moments::zero(len);
    for start in (0..len).step_by(3 * BLOCK) {
        let (end, scales) = ((start + 3 * BLOCK).min(len), start / BLOCK..(start / BLOCK + 3).min(len.div_ceil(BLOCK)));
        let ([a, b], [x, y]) = (&mut pieces.codes, &mut pieces.scales);
        let m = Codes { codes: &mut a[start..end], scales: &mut x[scales.clone()] };
        let v = Codes { codes: &mut b[start..end], scales: &mut y[scales] };
        adamw_8bit_step(Isa::best(), &mut param[start..end], &grad[start..end], m, v, SETTINGS);
    }
    assert_eq!(param, whole);
    assert_eq!((pieces.codes, pieces.scales), (moments.codes, moments.scales));
}
