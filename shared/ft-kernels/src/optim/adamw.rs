//! AdamW (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019, algorithm 2), with moments in f32 as
//! `torch.optim.AdamW` has them, or in 8 bits as bitsandbytes' `AdamW8bit`.

use rayon::prelude::*;

use super::PIECE;
use super::blockwise::{BLOCK, Codes, DynamicMap};
use crate::math::pow;
use crate::simd::{Isa, Kernel, LANES, Simd, dispatch};

/// The numbers of one AdamW step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// The number of this step, from 1.
    pub step: u64,
}

/// One step: changes the parameters and both moments by the gradient.
/// [`reference::adamw_step`](super::reference::adamw_step) has the same bits.
///
/// # Panics
/// If the four slices differ in length.
pub fn adamw_step(isa: Isa, param: &mut [f32], grad: &[f32], m: &mut [f32], v: &mut [f32], adamw: AdamW) {
    assert!(grad.len() == param.len() && m.len() == param.len() && v.len() == param.len());
    let moments = m.par_chunks_mut(PIECE).zip(v.par_chunks_mut(PIECE));
    let pieces = param.par_chunks_mut(PIECE).zip(grad.par_chunks(PIECE)).zip(moments);
    pieces.for_each(|((param, grad), (m, v))| dispatch(isa, Step { param, grad, m, v, adamw }));
}

/// One step with moments of 8 bits: both are expanded block by block, changed, and rounded again to the nearest value
/// of their map. The parameters move by the moments before they are rounded.
/// [`reference::adamw_8bit_step`](super::reference::adamw_8bit_step) has the same bits.
///
/// # Panics
/// If the moments are not as long as the parameters.
pub fn adamw_8bit_step(isa: Isa, param: &mut [f32], grad: &[f32], m: Codes, v: Codes, adamw: AdamW) {
    assert!(grad.len() == param.len() && m.fit(param.len()) && v.fit(param.len()));
    let maps = [DynamicMap::signed(), DynamicMap::unsigned()];
    let moments = m.pieces(PIECE).zip(v.pieces(PIECE));
    let pieces = param.par_chunks_mut(PIECE).zip(grad.par_chunks(PIECE)).zip(moments);
    pieces.for_each(|((param, grad), (m, v))| dispatch(isa, Step8 { param, grad, m, v, maps, adamw }));
}

struct Step<'a> {
    param: &'a mut [f32],
    grad: &'a [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
    adamw: AdamW,
}

impl Kernel for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let c = Constants::of(self.adamw);
        let values = self.param.chunks_mut(LANES).zip(self.grad.chunks(LANES));
        let moments = self.m.chunks_mut(LANES).zip(self.v.chunks_mut(LANES));
        for ((param, grad), (m, v)) in values.zip(moments) {
            let g = s.load_part(grad, 0.0);
            let m0 = s.load_part(m, 0.0);
            // torch's lerp.
            let m1 = s.fma(s.splat(c.one_less_beta1), s.sub(g, m0), m0);
            let v1 = second(s, &c, g, s.load_part(v, 0.0));
            let p = moved(s, &c, s.load_part(param, 0.0), m1, v1);
            s.store_part(param, p);
            s.store_part(m, m1);
            s.store_part(v, v1);
        }
    }
}

struct Step8<'a> {
    param: &'a mut [f32],
    grad: &'a [f32],
    m: Codes<'a>,
    v: Codes<'a>,
    maps: [&'static DynamicMap; 2],
    adamw: AdamW,
}

impl Kernel for Step8<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let c = Constants::of(self.adamw);
        let [signed, unsigned] = self.maps;
        let moments = self.m.blocks().zip(self.v.blocks());
        let values = self.param.chunks_mut(BLOCK).zip(self.grad.chunks(BLOCK));
        for ((param, grad), ((m_codes, m_scale), (v_codes, v_scale))) in values.zip(moments) {
            let (mut m, mut v) = ([0f32; BLOCK], [0f32; BLOCK]);
            let (m, v) = (&mut m[..param.len()], &mut v[..param.len()]);
            signed.expand(m_codes, *m_scale, m);
            unsigned.expand(v_codes, *v_scale, v);
            let moments = m.chunks_mut(LANES).zip(v.chunks_mut(LANES));
            for ((param, grad), (m, v)) in param.chunks_mut(LANES).zip(grad.chunks(LANES)).zip(moments) {
                let g = s.load_part(grad, 0.0);
                let m1 = s.fma(s.splat(c.one_less_beta1), g, s.mul(s.load_part(m, 0.0), s.splat(c.beta1)));
                let v1 = second(s, &c, g, s.load_part(v, 0.0));
                let p = moved(s, &c, s.load_part(param, 0.0), m1, v1);
                s.store_part(param, p);
                s.store_part(m, m1);
                s.store_part(v, v1);
            }
            *m_scale = signed.round(s, m, m_codes);
            *v_scale = unsigned.round(s, v, v_codes);
        }
    }
}

/// The new second moment: torch's `mul_` and `addcmul_`.
#[inline(always)]
fn second<S: Simd>(s: S, c: &Constants, g: S::V, v: S::V) -> S::V {
    s.fma(s.mul(s.splat(c.one_less_beta2), g), g, s.mul(v, s.splat(c.beta2)))
}

/// The parameter after decay and step.
#[inline(always)]
fn moved<S: Simd>(s: S, c: &Constants, p: S::V, m: S::V, v: S::V) -> S::V {
    let root = s.div(s.sqrt(v), s.splat(c.root_of_correction2));
    let denominator = s.add(root, s.splat(c.eps));
    s.add(s.mul(p, s.splat(c.decay)), s.div(s.mul(s.splat(c.negative_step), m), denominator))
}

/// What is the same for every element, rounded from f64 once.
#[derive(Clone, Copy)]
pub(super) struct Constants {
    pub decay: f32,
    pub beta1: f32,
    pub one_less_beta1: f32,
    pub beta2: f32,
    pub one_less_beta2: f32,
    pub root_of_correction2: f32,
    pub eps: f32,
    pub negative_step: f32,
}

impl Constants {
    pub fn of(a: AdamW) -> Self {
        let correction1 = 1.0 - pow(a.beta1, a.step as f64);
        let correction2 = 1.0 - pow(a.beta2, a.step as f64);
        Self {
            decay: (1.0 - a.lr * a.weight_decay) as f32,
            beta1: a.beta1 as f32,
            one_less_beta1: (1.0 - a.beta1) as f32,
            beta2: a.beta2 as f32,
            one_less_beta2: (1.0 - a.beta2) as f32,
            root_of_correction2: correction2.sqrt() as f32,
            eps: a.eps as f32,
            negative_step: -(a.lr / correction1) as f32,
        }
    }
}
