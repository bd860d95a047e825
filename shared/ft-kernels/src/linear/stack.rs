//! A layer's adapters as one stacked pair: `A` `[Σr, in]`, all of them below each other, and `B` `[out, Σr]`, of which
//! only the blocks on the diagonal are there.
//!
//! So all adapters of an input have one thin product, `low = s·x·Aᵀ`, and one more that is folded into the frozen one.
//! Dropout gives each adapter an input of its own: then `low` is formed adapter by adapter, in the same place.

use std::borrow::Cow;
use std::ops::Range;

use candle_core::Result;
use rayon::prelude::*;

use super::{Dropout, Linear, Lora};
use crate::backend::Isa;
use crate::gemm::{Mat, MatMut, Part, Rhs, matmul};
use crate::philox;
use crate::tensor::with_list;

/// The stacked pair.
pub(super) struct Stack<'a> {
    /// `[Σr, in]`
    a: Cow<'a, [f32]>,
    inner: usize,
    /// In the order of their ranks.
    pub adapters: Vec<Adapter<'a>>,
}

/// One block of it.
pub(super) struct Adapter<'a> {
    pub lora: &'a Lora<'a>,
    /// `[out, r]`
    pub b: &'a [f32],
    /// `out`, its columns of the layer.
    pub out: usize,
    /// Its rows of the stacked `A`.
    pub ranks: Range<usize>,
}

/// Calls `f` with the stacked pair of a layer.
pub(super) fn with_stack<R>(layer: &Linear<'_>, inner: usize, f: impl FnOnce(&Stack<'_>) -> Result<R>) -> Result<R> {
    let tensors: Vec<_> = layer.lora.iter().flat_map(|lora| [lora.a, lora.b]).collect();
    let mut adapters = Vec::with_capacity(layer.lora.len());
    let mut next = 0;
    for lora in &layer.lora {
        let (out, r) = lora.b.dims2()?;
        let fits = lora.a.dims() == [r, inner] && lora.column + out <= layer.width()?;
        if !fits {
            let (a, width) = (lora.a.dims(), layer.width()?);
            candle_core::bail!("an adapter A {a:?}, B [{out}, {r}] at column {} of [{width}, {inner}]", lora.column);
        }
        adapters.push((lora, out, next..next + r));
        next += r;
    }
    with_list(&tensors, |slices| {
        let a = match slices {
            [a, _] => Cow::Borrowed(*a),
            all => Cow::Owned(all.iter().step_by(2).copied().collect::<Vec<_>>().concat()),
        };
        let b = slices.iter().skip(1).step_by(2);
        let adapters = adapters.into_iter().zip(b).map(|((lora, out, ranks), b)| Adapter { lora, b, out, ranks });
        f(&Stack { a, inner, adapters: adapters.collect() })
    })?
}

impl Stack<'_> {
    /// `Σr`
    pub fn rank(&self) -> usize {
        self.adapters.last().map_or(0, |last| last.ranks.end)
    }

    /// Whether all adapters see the same input.
    pub fn has_one_input(&self) -> bool {
        self.adapters.iter().all(|adapter| adapter.lora.dropout.is_none())
    }

    /// An adapter's rows of `A`, `[r, in]`.
    pub fn a(&self, ranks: &Range<usize>) -> Mat<'_, f32> {
        let rows = &self.a[ranks.start * self.inner..ranks.end * self.inner];
        Mat::new(rows, ranks.len(), self.inner)
    }

    /// `s·x·Aᵀ`, `[tokens, Σr]`; `dropped` is what each adapter sees in the place of `x`.
    pub fn low(&self, isa: Isa, x: &[f32], dropped: &[Option<Vec<f32>>]) -> Vec<f32> {
        let (tokens, width) = (x.len() / self.inner.max(1), self.rank());
        let mut low = vec![0.0; tokens * width];
        let mut product = |x: &[f32], ranks: &Range<usize>| {
            let a = Rhs::F32(self.a(ranks)).t();
            let place = low.get_mut(ranks.start..).unwrap_or_default();
            matmul(
                isa,
                Mat::new(x, tokens, self.inner),
                a,
                &mut MatMut::strided(place, tokens, ranks.len(), width),
                false,
            );
        };
        if self.has_one_input() {
            product(x, &(0..width));
        } else {
            for (adapter, dropped) in self.adapters.iter().zip(dropped) {
                product(dropped.as_deref().unwrap_or(x), &adapter.ranks);
            }
        }
        self.scale(&mut low);
        low
    }

    /// `s·dy·B`, `[tokens, Σr]`; `dy` gives each adapter its columns of the gradient.
    pub fn dlow<'d>(&self, isa: Isa, tokens: usize, dy: impl Fn(usize) -> Mat<'d, f32>) -> Vec<f32> {
        let width = self.rank();
        let mut dlow = vec![0.0; tokens * width];
        for (i, adapter) in self.adapters.iter().enumerate() {
            let place = dlow.get_mut(adapter.ranks.start..).unwrap_or_default();
            let mut place = MatMut::strided(place, tokens, adapter.ranks.len(), width);
            matmul(isa, dy(i), Rhs::F32(adapter.b()), &mut place, false);
        }
        self.scale(&mut dlow);
        dlow
    }

    /// Multiplies each adapter's columns by its factor.
    fn scale(&self, low: &mut [f32]) {
        for row in low.chunks_mut(self.rank().max(1)) {
            for Adapter { lora, ranks, .. } in &self.adapters {
                row[ranks.clone()].iter_mut().for_each(|u| *u *= lora.scaling);
            }
        }
    }
}

impl Adapter<'_> {
    /// `[out, r]`
    pub fn b(&self) -> Mat<'_, f32> {
        Mat::new(self.b, self.out, self.ranks.len())
    }

    /// Its columns of what all adapters have, `[tokens, Σr]`.
    pub fn of<'l>(&self, low: &'l [f32], tokens: usize, width: usize) -> Mat<'l, f32> {
        Mat::strided(low.get(self.ranks.start..).unwrap_or_default(), tokens, self.ranks.len(), width)
    }

    /// Its part of the layer's output: `low·Bᵀ`, with `b` in the place of `B` where there is one.
    pub fn part<'p>(&'p self, low: &'p [f32], tokens: usize, width: usize, b: Option<&'p [f32]>) -> Part<'p> {
        let right = Mat::new(b.unwrap_or(self.b), self.out, self.ranks.len()).t();
        Part { left: self.of(low, tokens, width), right, column: self.lora.column, mask: None }
    }
}

/// The factors of a dropout of rows of `cols`, `[tokens, cols]`.
pub(super) fn factors(isa: Isa, dropout: &Dropout, cols: usize, starts: &[usize]) -> Result<Vec<f32>> {
    dropout.check(starts)?;
    let tokens = starts.last().copied().unwrap_or(0);
    let mut all = vec![0.0; tokens * cols];
    for (stream, span) in dropout.streams.iter().zip(starts.windows(2)) {
        let rows = all[span[0] * cols..span[1] * cols].par_chunks_mut(cols.max(1));
        rows.enumerate().for_each(|(t, row)| philox::dropout_scale(isa, stream, t, cols, dropout.p, row));
    }
    Ok(all)
}

/// What each adapter sees in the place of `x`, `[tokens, cols]`; none for one without dropout.
pub(super) fn dropped(
    isa: Isa,
    layer: &Linear<'_>,
    x: &[f32],
    cols: usize,
    starts: &[usize],
) -> Result<Vec<Option<Vec<f32>>>> {
    let one = |lora: &Lora<'_>| {
        let Some(dropout) = &lora.dropout else { return Ok(None) };
        let mut kept = factors(isa, dropout, cols, starts)?;
        times(&mut kept, x, cols);
        Ok(Some(kept))
    };
    layer.lora.iter().map(one).collect()
}

/// `kept *= x`
pub(super) fn times(kept: &mut [f32], x: &[f32], cols: usize) {
    let cols = cols.max(1);
    kept.par_chunks_mut(cols).zip(x.par_chunks(cols)).for_each(|(kept, x)| {
        kept.iter_mut().zip(x).for_each(|(k, x)| *k *= x);
    });
}
