//! Lion (Chen et al., "Symbolic Discovery of Optimization Algorithms", 2023, algorithm 2): steps of one length, by the
//! sign of a mixture of momentum and gradient; the order of the operations is bitsandbytes'.

use rayon::prelude::*;

use super::PIECE;
use super::blockwise::{BLOCK, Codes, DynamicMap};
use crate::simd::{Isa, Kernel, LANES, Simd, dispatch};

/// The numbers of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lion {
    /// Learning rate of this step.
    pub lr: f64,
    /// The momentum's share in the mixture whose sign is taken.
    pub beta1: f64,
    /// Decay of the momentum.
    pub beta2: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

/// One step: changes the parameters and the momentum by the gradient.
/// [`reference::lion_step`](super::reference::lion_step) has the same bits.
///
/// # Panics
/// If the slices differ in length.
pub fn lion_step(isa: Isa, param: &mut [f32], grad: &[f32], m: &mut [f32], lion: Lion) {
    assert!(grad.len() == param.len() && m.len() == param.len());
    let pieces = param.par_chunks_mut(PIECE).zip(grad.par_chunks(PIECE)).zip(m.par_chunks_mut(PIECE));
    pieces.for_each(|((param, grad), m)| dispatch(isa, Step { param, grad, m, lion }));
}

/// One step with a momentum of 8 bits.
/// [`reference::lion_8bit_step`](super::reference::lion_8bit_step) has the same bits.
///
/// # Panics
/// If the momentum is not as long as the parameters.
pub fn lion_8bit_step(isa: Isa, param: &mut [f32], grad: &[f32], m: Codes, lion: Lion) {
    assert!(grad.len() == param.len() && m.fit(param.len()));
    let pieces = param.par_chunks_mut(PIECE).zip(grad.par_chunks(PIECE)).zip(m.pieces(PIECE));
    pieces.for_each(|((param, grad), m)| dispatch(isa, Step8 { param, grad, m, lion }));
}

struct Step<'a> {
    param: &'a mut [f32],
    grad: &'a [f32],
    m: &'a mut [f32],
    lion: Lion,
}

impl Kernel for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        update(s, self.param, self.grad, self.m, Constants::of(self.lion));
    }
}

struct Step8<'a> {
    param: &'a mut [f32],
    grad: &'a [f32],
    m: Codes<'a>,
    lion: Lion,
}

impl Kernel for Step8<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (c, map) = (Constants::of(self.lion), DynamicMap::signed());
        let values = self.param.chunks_mut(BLOCK).zip(self.grad.chunks(BLOCK));
        for ((param, grad), (codes, scale)) in values.zip(self.m.blocks()) {
            let mut m = [0f32; BLOCK];
            let m = &mut m[..param.len()];
            map.expand(codes, *scale, m);
            update(s, param, grad, m, c);
            *scale = map.round(s, m, codes);
        }
    }
}

#[inline(always)]
fn update<S: Simd>(s: S, param: &mut [f32], grad: &[f32], m: &mut [f32], c: Constants) {
    let zero = s.splat(0.0);
    for ((param, grad), m) in param.chunks_mut(LANES).zip(grad.chunks(LANES)).zip(m.chunks_mut(LANES)) {
        let g = s.load_part(grad, 0.0);
        let m0 = s.load_part(m, 0.0);
        let mixed = s.fma(s.splat(c.one_less_beta1), g, s.mul(m0, s.splat(c.beta1)));
        let step = s.select_lt(zero, mixed, s.splat(c.negative_lr), zero);
        let step = s.select_lt(mixed, zero, s.splat(-c.negative_lr), step);
        s.store_part(param, s.add(s.mul(s.load_part(param, 0.0), s.splat(c.decay)), step));
        s.store_part(m, s.fma(s.splat(c.one_less_beta2), g, s.mul(m0, s.splat(c.beta2))));
    }
}

/// What is the same for every element, rounded from f64 once.
#[derive(Clone, Copy)]
pub(super) struct Constants {
    pub decay: f32,
    pub beta1: f32,
    pub one_less_beta1: f32,
    pub beta2: f32,
    pub one_less_beta2: f32,
    pub negative_lr: f32,
}

impl Constants {
    pub fn of(lion: Lion) -> Self {
        Self {
            decay: (1.0 - lion.lr * lion.weight_decay) as f32,
            beta1: lion.beta1 as f32,
            one_less_beta1: (1.0 - lion.beta1) as f32,
            beta2: lion.beta2 as f32,
            one_less_beta2: (1.0 - lion.beta2) as f32,
            negative_lr: -lion.lr as f32,
        }
    }
}
