//! The optimizers' steps element by element, as the formulas read.

use super::{AdamW, BLOCK, Codes, DynamicMap, Lion, Sgd};

/// [`super::adamw_step`]
pub fn adamw_step(param: &mut [f32], grad: &[f32], m: &mut [f32], v: &mut [f32], adamw: AdamW) {
    let c = super::adamw::Constants::of(adamw);
    for (((p, &g), m), v) in param.iter_mut().zip(grad).zip(m).zip(v) {
        *m = c.one_less_beta1.mul_add(g - *m, *m);
        *v = (c.one_less_beta2 * g).mul_add(g, *v * c.beta2);
        *p = *p * c.decay + c.negative_step * *m / (v.sqrt() / c.root_of_correction2 + c.eps);
    }
}

/// [`super::adamw_8bit_step`]
pub fn adamw_8bit_step(param: &mut [f32], grad: &[f32], m: Codes, v: Codes, adamw: AdamW) {
    let c = super::adamw::Constants::of(adamw);
    let mut first = expand(DynamicMap::signed(), &m);
    let mut second = expand(DynamicMap::unsigned(), &v);
    for (((p, &g), m), v) in param.iter_mut().zip(grad).zip(&mut first).zip(&mut second) {
        *m = c.one_less_beta1.mul_add(g, *m * c.beta1);
        *v = (c.one_less_beta2 * g).mul_add(g, *v * c.beta2);
        *p = *p * c.decay + c.negative_step * *m / (v.sqrt() / c.root_of_correction2 + c.eps);
    }
    round(DynamicMap::signed(), &first, m);
    round(DynamicMap::unsigned(), &second, v);
}

/// [`super::sgd_step`]
pub fn sgd_step(param: &mut [f32], grad: &[f32], momentum: &mut [f32], sgd: Sgd) {
    let c = super::sgd::Constants::of(sgd);
    for (i, (p, &g)) in param.iter_mut().zip(grad).enumerate() {
        let g = c.decay.mul_add(*p, g);
        let mut direction = g;
        if sgd.momentum != 0.0 {
            let kept = &mut momentum[i];
            *kept = if sgd.step == 1 { g } else { c.entering.mul_add(g, *kept * c.kept) };
            direction = if sgd.nesterov { c.kept.mul_add(*kept, g) } else { *kept };
        }
        *p = c.negative_lr.mul_add(direction, *p);
    }
}

/// [`super::lion_step`]
pub fn lion_step(param: &mut [f32], grad: &[f32], m: &mut [f32], lion: Lion) {
    let c = super::lion::Constants::of(lion);
    for ((p, &g), m) in param.iter_mut().zip(grad).zip(m) {
        let mixed = c.one_less_beta1.mul_add(g, *m * c.beta1);
        let sign = if mixed == 0.0 { 0.0 } else { mixed.signum() };
        *p = *p * c.decay + sign * c.negative_lr;
        *m = c.one_less_beta2.mul_add(g, *m * c.beta2);
    }
}

/// [`super::lion_8bit_step`]
pub fn lion_8bit_step(param: &mut [f32], grad: &[f32], m: Codes, lion: Lion) {
    let mut momentum = expand(DynamicMap::signed(), &m);
    lion_step(param, grad, &mut momentum, lion);
    round(DynamicMap::signed(), &momentum, m);
}

/// The numbers that codes stand for.
pub fn expand(map: &DynamicMap, from: &Codes) -> Vec<f32> {
    let value = |(i, &code): (usize, &u8)| map.values()[code as usize] * from.scales[i / BLOCK];
    from.codes.iter().enumerate().map(value).collect()
}

/// The nearest codes, each found among all 256.
pub fn round(map: &DynamicMap, values: &[f32], to: Codes) {
    let blocks = values.chunks(BLOCK).zip(to.codes.chunks_mut(BLOCK)).zip(to.scales);
    for ((values, codes), scale) in blocks {
        *scale = values.iter().fold(0.0, |largest, x| x.abs().max(largest));
        for (code, &x) in codes.iter_mut().zip(values) {
            let x = (x * (1.0 / *scale)).clamp(-1.0, 1.0);
            let mut best = (f32::INFINITY, 0);
            for (i, value) in map.values().iter().enumerate() {
                if (x - value).abs() < best.0 {
                    best = ((x - value).abs(), i as u8);
                }
            }
            *code = best.1;
        }
    }
}
