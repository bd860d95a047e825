//! Stochastic gradient descent as `torch.optim.SGD` does it: momentum, dampening, Nesterov's step (Sutskever et al.,
//! "On the importance of initialization and momentum in deep learning", 2013), and a decay that joins the gradient.

use rayon::prelude::*;

use super::PIECE;
use crate::simd::{Isa, Kernel, LANES, Simd, dispatch};

/// The numbers of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sgd {
    /// Learning rate of this step.
    pub lr: f64,
    /// How much of the last direction is kept; 0 needs no memory.
    pub momentum: f64,
    /// What the gradient loses as it enters the momentum.
    pub dampening: f64,
    /// Whether the step looks ahead along the momentum.
    pub nesterov: bool,
    /// Times the parameter, added to the gradient.
    pub weight_decay: f64,
    /// The number of this step, from 1: the first one fills the momentum with the gradient itself.
    pub step: u64,
}

/// One step. `momentum` is what the last step left there; where the momentum is 0 it is empty.
/// [`reference::sgd_step`](super::reference::sgd_step) has the same bits.
///
/// # Panics
/// If the slices differ in length.
pub fn sgd_step(isa: Isa, param: &mut [f32], grad: &[f32], momentum: &mut [f32], sgd: Sgd) {
    assert!(grad.len() == param.len() && (sgd.momentum == 0.0 || momentum.len() == param.len()));
    let pieces = param.par_chunks_mut(PIECE).zip(grad.par_chunks(PIECE));
    if sgd.momentum == 0.0 {
        pieces.for_each(|(param, grad)| dispatch(isa, Step { param, grad, momentum: None, sgd }));
        return;
    }
    let pieces = pieces.zip(momentum.par_chunks_mut(PIECE));
    pieces.for_each(|((param, grad), momentum)| dispatch(isa, Step { param, grad, momentum: Some(momentum), sgd }));
}

struct Step<'a> {
    param: &'a mut [f32],
    grad: &'a [f32],
    momentum: Option<&'a mut [f32]>,
    sgd: Sgd,
}

impl Kernel for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let c = Constants::of(self.sgd);
        let values = self.param.chunks_mut(LANES).zip(self.grad.chunks(LANES));
        let Some(momentum) = self.momentum else {
            for (param, grad) in values {
                let p = s.load_part(param, 0.0);
                let g = s.fma(s.splat(c.decay), p, s.load_part(grad, 0.0));
                s.store_part(param, s.fma(s.splat(c.negative_lr), g, p));
            }
            return;
        };
        let first = self.sgd.step == 1;
        for ((param, grad), momentum) in values.zip(momentum.chunks_mut(LANES)) {
            let p = s.load_part(param, 0.0);
            let g = s.fma(s.splat(c.decay), p, s.load_part(grad, 0.0));
            let old = s.mul(s.load_part(momentum, 0.0), s.splat(c.kept));
            let kept = if first { g } else { s.fma(s.splat(c.entering), g, old) };
            s.store_part(momentum, kept);
            let direction = if self.sgd.nesterov { s.fma(s.splat(c.kept), kept, g) } else { kept };
            s.store_part(param, s.fma(s.splat(c.negative_lr), direction, p));
        }
    }
}

/// What is the same for every element, rounded from f64 once.
#[derive(Clone, Copy)]
pub(super) struct Constants {
    pub decay: f32,
    pub negative_lr: f32,
    pub kept: f32,
    pub entering: f32,
}

impl Constants {
    pub fn of(sgd: Sgd) -> Self {
        Self {
            decay: sgd.weight_decay as f32,
            negative_lr: -sgd.lr as f32,
            kept: sgd.momentum as f32,
            entering: (1.0 - sgd.dampening) as f32,
        }
    }
}
