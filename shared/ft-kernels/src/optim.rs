//! AdamW on flat slices, and the sums and scalings that a step needs.
//!
//! The formulas and the order of the f32 operations are those of `torch.optim.AdamW` (decoupled
//! weight decay first, bias corrections in f64).

use rayon::prelude::*;

use crate::parallel::Shared;
use crate::simd::{Kernel, LANES, Simd, dispatch};

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

/// Elements handed to a thread at once.
const PIECE: usize = 64 * 1024;

/// One step: changes the parameters and both moments by the gradient.
///
/// # Panics
/// If the four slices differ in length.
pub fn adamw_step(param: &mut [f32], grad: &[f32], m: &mut [f32], v: &mut [f32], adamw: AdamW) {
    assert!(grad.len() == param.len() && m.len() == param.len() && v.len() == param.len());
    let len = param.len();
    let (param, m, v) = (Shared::new(param), Shared::new(m), Shared::new(v));
    (0..len.div_ceil(PIECE)).into_par_iter().for_each(|piece| {
        let start = piece * PIECE;
        let count = PIECE.min(len - start);
        // SAFETY: the pieces lie inside the slices and do not meet.
        let (param, m, v) = unsafe { (param.part(start, count), m.part(start, count), v.part(start, count)) };
        let grad = &grad[start..start + count];
        dispatch(Step { param, grad, m, v, adamw });
    });
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
            let m1 = s.fma(s.splat(c.one_less_beta1), s.sub(g, m0), m0);
            let v0 = s.mul(s.load_part(v, 0.0), s.splat(c.beta2));
            let v1 = s.add(v0, s.mul(s.mul(s.splat(c.one_less_beta2), g), g));
            let root = s.div(s.sqrt(v1), s.splat(c.root_of_correction2));
            let denominator = s.add(root, s.splat(c.eps));
            let p = s.mul(s.load_part(param, 0.0), s.splat(c.decay));
            let p = s.add(p, s.div(s.mul(s.splat(c.negative_step), m1), denominator));
            s.store_part(param, p);
            s.store_part(m, m1);
            s.store_part(v, v1);
        }
    }
}

/// What is the same for every element, rounded from f64 once.
struct Constants {
    decay: f32,
    one_less_beta1: f32,
    beta2: f32,
    one_less_beta2: f32,
    root_of_correction2: f32,
    eps: f32,
    negative_step: f32,
}

impl Constants {
    fn of(a: AdamW) -> Self {
        let correction1 = 1.0 - a.beta1.powf(a.step as f64);
        let correction2 = 1.0 - a.beta2.powf(a.step as f64);
        Self {
            decay: (1.0 - a.lr * a.weight_decay) as f32,
            one_less_beta1: (1.0 - a.beta1) as f32,
            beta2: a.beta2 as f32,
            one_less_beta2: (1.0 - a.beta2) as f32,
            root_of_correction2: correction2.sqrt() as f32,
            eps: a.eps as f32,
            negative_step: -(a.lr / correction1) as f32,
        }
    }
}

/// The sum of the elements' squares, in f64 and in one fixed order.
pub fn sum_of_squares(values: &[f32]) -> f64 {
    let pieces: Vec<f64> = values.par_chunks(PIECE).map(squares_of_piece).collect();
    pieces.iter().sum()
}

/// Squares of f32 are exact in f64, so only the order of the additions matters.
fn squares_of_piece(values: &[f32]) -> f64 {
    let mut sums = [0f64; LANES];
    let parts = values.chunks_exact(LANES);
    let rest = parts.remainder();
    for part in parts {
        for (sum, &x) in sums.iter_mut().zip(part) {
            *sum += f64::from(x) * f64::from(x);
        }
    }
    for (sum, &x) in sums.iter_mut().zip(rest) {
        *sum += f64::from(x) * f64::from(x);
    }
    sums.iter().sum()
}

/// Multiplies every element.
pub fn scale_in_place(values: &mut [f32], factor: f32) {
    values.par_chunks_mut(PIECE).for_each(|part| part.iter_mut().for_each(|x| *x *= factor));
}
