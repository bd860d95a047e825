//! The layer's backward on the CPU.
//!
//! The input's gradient is `[dy | s·dy·B]·[W; A]`: the adapters' products follow the frozen one's last block, each
//! through its dropout's mask. The one exception is an adapter with a magnitude and a dropout, for there the masked part
//! holds a frozen product of its own: such a layer's parts are formed one after the other behind the whole product.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::dora::{self, Scales};
use super::products::frozen;
use super::stack::{Adapter, Stack, factors, times, with_stack};
use super::{Gradients, Linear, LoraGradient};
use crate::backend::Isa;
use crate::gemm::{Mat, MatMut, Part, Rhs, Tail, matmul};
use crate::tensor::{from_vec, unwritten, with_slices};

/// What all adapters of a layer go back through.
struct Backward<'a> {
    isa: Isa,
    layer: &'a Linear<'a>,
    scales: &'a [Option<Scales>],
    /// `[tokens, width]`, the gradient of the layer's output.
    dy: &'a [f32],
    width: usize,
    /// `[tokens, inner]`, the layer's input.
    x: &'a [f32],
    tokens: usize,
    inner: usize,
    starts: &'a [usize],
}

/// See [`Linear::backward`].
pub(super) fn backward(
    isa: Isa,
    layer: &Linear<'_>,
    dy: &Tensor,
    x: &Tensor,
    starts: &[usize],
    want_x: bool,
) -> Result<Gradients> {
    let ((tokens, inner), width) = (x.dims2()?, layer.width()?);
    let scales = &layer.scales(isa)?;
    with_slices([dy, x], |[dy, x]| {
        let all = Backward { isa, layer, scales, dy, width, x, tokens, inner, starts };
        let (dx, lora) = with_stack(layer, inner, |stack| all.run(stack, want_x))?;
        Ok(Gradients { x: dx.map(|dx| from_vec(dx, (tokens, inner))).transpose()?, lora })
    })?
}

impl Backward<'_> {
    fn run(&self, stack: &Stack<'_>, want_x: bool) -> Result<(Option<Vec<f32>>, Vec<LoraGradient>)> {
        let through = dora::through(&self.layer.lora, self.scales, self.dy, self.width);
        let through = through.as_deref().unwrap_or(self.dy);
        let own: Vec<Option<Vec<f32>>> = stack.adapters.iter().zip(self.scales).map(|of| self.own(of)).collect();
        // Each adapter's columns of the gradient, times its magnitudes' factors.
        let dy = |i: usize| {
            let Adapter { lora, out, .. } = &stack.adapters[i];
            match &own[i] {
                Some(own) => Mat::new(own, self.tokens, *out),
                None => Mat::strided(from_column(through, lora.column), self.tokens, *out, self.width),
            }
        };
        let dlow = stack.dlow(self.isa, self.tokens, dy);
        let mut masks = self.masks()?;
        let dx = want_x.then(|| self.input(stack, through, &dlow, &masks)).transpose()?;
        if stack.adapters.is_empty() {
            return Ok((dx, Vec::new()));
        }
        masks.iter_mut().flatten().for_each(|mask| times(mask, self.x, self.inner));
        // What each adapter saw.
        let seen = masks;
        let low = stack.low(self.isa, self.x, &seen);
        let mut da = self.gradients_of_a(stack, &dlow, &seen);
        let mut all = Vec::new();
        for (i, adapter) in stack.adapters.iter().enumerate() {
            let low = adapter.of(&low, self.tokens, stack.rank());
            let db = self.by_sequence(dy(i).t(), low);
            let mut magnitudes = self.magnitudes(i, adapter, low, seen[i].as_deref())?.into_iter();
            for (sequence, (a, b)) in da[i].drain(..).zip(db).enumerate() {
                let r = adapter.ranks.len();
                let (a, b) = (from_vec(a, (r, self.inner))?, from_vec(b, (adapter.out, r))?);
                let magnitude = magnitudes.next().map(|m| from_vec(m, adapter.out)).transpose()?;
                all.push(LoraGradient { adapter: i, sequence, a, b, magnitude });
            }
        }
        Ok((dx, all))
    }

    /// `k·dy` of an adapter whose magnitudes do not scale the whole of its columns.
    fn own(&self, (adapter, scales): (&Adapter<'_>, &Option<Scales>)) -> Option<Vec<f32>> {
        let scales = scales.as_ref().filter(|_| adapter.lora.dropout.is_some())?;
        Some(scales.times_columns(from_column(self.dy, adapter.lora.column), self.width))
    }

    /// The factors of each adapter's dropout, `[tokens, in]`.
    fn masks(&self) -> Result<Vec<Option<Vec<f32>>>> {
        let one = |dropout: &super::Dropout| factors(self.isa, dropout, self.inner, self.starts);
        self.layer.lora.iter().map(|lora| lora.dropout.as_ref().map(one).transpose()).collect()
    }

    /// The gradient of the input, `[tokens, in]`.
    fn input(&self, stack: &Stack<'_>, through: &[f32], dlow: &[f32], masks: &[Option<Vec<f32>>]) -> Result<Vec<f32>> {
        let &Self { isa, tokens, inner, .. } = self;
        let apart = self.scales.iter().zip(masks).any(|(scales, mask)| scales.is_some() && mask.is_some());
        let folded = stack.adapters.iter().zip(masks).filter(|_| !apart);
        let parts = folded.map(|(adapter, mask)| Part {
            left: adapter.of(dlow, tokens, stack.rank()),
            right: stack.a(&adapter.ranks),
            column: 0,
            mask: mask.as_ref().map(|mask| Mat::new(mask, tokens, inner)),
        });
        // SAFETY: a product that is not added to what is there writes every element.
        let mut dx = unsafe { unwritten(tokens * inner) };
        let tail = Tail::new(None, parts.collect(), None);
        frozen(isa, through, &self.layer.weight, true, &mut MatMut::new(&mut dx, tokens, inner), false, &tail)?;
        if apart {
            for ((adapter, scales), mask) in stack.adapters.iter().zip(self.scales).zip(masks) {
                self.add_apart(stack, adapter, scales.as_ref(), mask.as_deref(), dlow, &mut dx)?;
            }
        }
        Ok(dx)
    }

    /// `dx += mask ⊙ (dlow·A + ((k − 1)·dy)·W)`
    fn add_apart(
        &self,
        stack: &Stack<'_>,
        adapter: &Adapter<'_>,
        scales: Option<&Scales>,
        mask: Option<&[f32]>,
        dlow: &[f32],
        dx: &mut [f32],
    ) -> Result<()> {
        let &Self { isa, tokens, inner, .. } = self;
        let (dlow, a) = (adapter.of(dlow, tokens, stack.rank()), Rhs::F32(stack.a(&adapter.ranks)));
        let Some(mask) = mask else {
            matmul(isa, dlow, a, &mut MatMut::new(dx, tokens, inner), true);
            return Ok(());
        };
        // SAFETY: a product that is not added to what is there writes every element.
        let mut part = unsafe { unwritten(tokens * inner) };
        matmul(isa, dlow, a, &mut MatMut::new(&mut part, tokens, inner), false);
        if let Some(scales) = scales {
            scales.add_to_input(isa, from_column(self.dy, adapter.lora.column), self.width, &mut part)?;
        }
        let rows = dx.par_chunks_mut(inner).zip(part.par_chunks(inner)).zip(mask.par_chunks(inner));
        rows.for_each(|((dx, part), mask)| dx.iter_mut().zip(part).zip(mask).for_each(|((dx, p), m)| *dx += m * p));
        Ok(())
    }

    /// Of each adapter the gradients of `A`, `dlowᵀ·x`, one a sequence: where all see one input, the stacked pair's.
    fn gradients_of_a(&self, stack: &Stack<'_>, dlow: &[f32], seen: &[Option<Vec<f32>>]) -> Vec<Vec<Vec<f32>>> {
        let &Self { tokens, inner, .. } = self;
        if !stack.has_one_input() {
            let one = |(adapter, seen): (&Adapter<'_>, &Option<Vec<f32>>)| {
                let dlow = adapter.of(dlow, tokens, stack.rank());
                self.by_sequence(dlow.t(), Mat::new(seen.as_deref().unwrap_or(self.x), tokens, inner))
            };
            return stack.adapters.iter().zip(seen).map(one).collect();
        }
        let all = self.by_sequence(Mat::new(dlow, tokens, stack.rank()).t(), Mat::new(self.x, tokens, inner));
        if stack.adapters.len() == 1 {
            return vec![all];
        }
        let of = |adapter: &Adapter<'_>| {
            let rows = adapter.ranks.start * inner..adapter.ranks.end * inner;
            all.iter().map(|all| all[rows.clone()].to_vec()).collect()
        };
        stack.adapters.iter().map(of).collect()
    }

    /// For each sequence `left·right` of its tokens, with `left` `[rows, tokens]` and `right` `[tokens, columns]`.
    fn by_sequence(&self, left: Mat<'_, f32>, right: Mat<'_, f32>) -> Vec<Vec<f32>> {
        let (rows, columns) = (left.rows, right.cols);
        let one = |span: &[usize]| {
            let (from, length) = (span[0], span[1] - span[0]);
            // SAFETY: a product that is not added to what is there writes every element.
            let mut sums = unsafe { unwritten(rows * columns) };
            let right = Rhs::F32(right.rows_of(from, length));
            matmul(self.isa, left.cols_of(from, length), right, &mut MatMut::new(&mut sums, rows, columns), false);
            sums
        };
        self.starts.par_windows(2).map(one).collect()
    }

    /// The gradients of adapter number `i`'s magnitudes, one a sequence; empty where it has none.
    fn magnitudes(
        &self,
        i: usize,
        adapter: &Adapter<'_>,
        low: Mat<'_, f32>,
        seen: Option<&[f32]>,
    ) -> Result<Vec<Vec<f32>>> {
        let Some(scales) = &self.scales[i] else { return Ok(Vec::new()) };
        let part = Part { left: low, right: adapter.b().t(), column: 0, mask: None };
        let y = scales.product(self.isa, seen.unwrap_or(self.x), &Tail::new(None, vec![part], None))?;
        Ok(scales.gradients(&y, from_column(self.dy, adapter.lora.column), self.width, self.starts))
    }
}

/// Rows from one of their columns on; of no rows there is none.
fn from_column(rows: &[f32], column: usize) -> &[f32] {
    rows.get(column..).unwrap_or_default()
}
