//! The gradients of an optimizer step: a balanced sum over its sequences.

use candle_core::Tensor;
use ft_dist::TreeSum;
use ft_kernels::tensor::{is_fused, with_slice, with_slice_mut};

use crate::block::ModuleGradient;
use crate::error::Result;

/// The gradient of one module's adapter.
#[derive(Debug, Clone)]
pub struct PairGradient {
    /// `[r, in]`
    pub a: Tensor,
    /// `[out, r]`
    pub b: Tensor,
}

/// Sums gradients sequence by sequence, module by module, each as one balanced tree over the
/// sequence's number in the step. Sequences must come in rising order for each module.
#[derive(Debug)]
pub struct Gradients {
    modules: Vec<TreeSum<PairGradient>>,
}

impl Gradients {
    /// No gradient yet for any of `modules` modules; `first` is the number of the first sequence.
    pub fn new(modules: usize, first: usize) -> Self {
        Self { modules: (0..modules).map(|_| TreeSum::starting_at(first)).collect() }
    }

    /// Adds the next sequence's gradient of a module.
    ///
    /// # Errors
    /// If the addition fails.
    pub fn push(&mut self, found: ModuleGradient) -> Result<()> {
        let pair = PairGradient { a: found.gradient.a, b: found.gradient.b };
        self.modules[found.module].push(pair, add_pairs)
    }

    /// The sums, a module each.
    ///
    /// # Errors
    /// If an addition fails, or a module got no gradient.
    pub fn finish(self) -> Result<Vec<PairGradient>> {
        let missing = || candle_core::Error::Msg("a module got no gradient".into());
        self.modules.into_iter().map(|tree| Ok(tree.finish(add_pairs)?.ok_or_else(missing)?)).collect()
    }
}

fn add_pairs(left: PairGradient, right: PairGradient) -> Result<PairGradient> {
    let PairGradient { a, b } = right;
    Ok(PairGradient { a: add(left.a, &a)?, b: add(left.b, &b)? })
}

/// `left + right`, in the memory of `left` where that is on the CPU: nobody else holds it.
fn add(left: Tensor, right: &Tensor) -> Result<Tensor> {
    if !is_fused(&left) || !is_fused(right) {
        return Ok((left + right)?);
    }
    with_slice_mut(&left, |left| with_slice(right, |right| left.iter_mut().zip(right).for_each(|(l, r)| *l += r)))??;
    Ok(left)
}
