//! Adapters with a magnitude (Liu et al., "DoRA: Weight-Decomposed Low-Rank Adaptation", 2024, equation 5).
//!
//! Each row of `W + s·B·A` is given the length `m`: with `k = m / ‖W + s·B·A‖`, where the norm counts as a
//! constant in backward (section 4.3), an adapter's columns become `bias + k·(x·Wᵀ + s·x·Aᵀ·Bᵀ)`.
//!
//! With dropout it is what peft (0.21) computes: the frozen product stays whole, and what is added to it sees the
//! dropped input `d = drop(x)` in both parts: `bias + x·Wᵀ + (k − 1)·d·Wᵀ + k·s·d·Aᵀ·Bᵀ`. The gradient
//! of `m` is then `Σ dy·(d·Wᵀ + s·d·Aᵀ·Bᵀ) / ‖W + s·B·A‖`, in both cases.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::products::frozen;
use super::{Linear, Lora, Weight, reference};
use crate::backend::{Compute, Isa};
use crate::gemm::{Mat, MatMut, Rhs, Tail, matmul};
use crate::parallel::with_scratch;
use crate::simd::{Kernel, LANES, Simd, dispatch};
use crate::tensor::{from_vec, unwritten, with_slice, with_slices};

/// Rows of the matrix whose norms are formed at a time.
const NORMS_AT_A_TIME: usize = 64;
/// Rows, and columns, that are handed to a thread at once.
const ROWS_AT_A_TIME: usize = 32;
const COLUMNS_AT_A_TIME: usize = 64;

/// The norms of the rows of `W + s·B·A`, `[out]`: what the magnitudes of an adapter start as, and what they are
/// divided by ever after. `weight` is `[out, in]` (the adapter's own rows), `a` `[r, in]`, `b`
/// `[out, r]`. A row's norm depends on its row of `W` and `B`, and on `A`.
///
/// # Errors
/// If candle refuses the shapes or types.
pub fn dora_norm(compute: Compute, weight: impl Into<Weight>, a: &Tensor, b: &Tensor, scaling: f32) -> Result<Tensor> {
    let weight = &weight.into();
    let ((out, inner), (r, _)) = (weight.dims2()?, a.dims2()?);
    if a.dims() != [r, inner] || b.dims() != [out, r] {
        candle_core::bail!("an adapter A {:?}, B {:?} of a matrix [{out}, {inner}]", a.dims(), b.dims());
    }
    if !compute.is_fused() {
        return reference::dora_norm(compute, &weight.to_device(a.device())?.widened()?, a, b, scaling);
    }
    norms(compute.isa, weight, a, b, scaling)
}

fn norms(isa: Isa, weight: &Weight, a: &Tensor, b: &Tensor, scaling: f32) -> Result<Tensor> {
    let ((out, inner), (r, _)) = (weight.dims2()?, a.dims2()?);
    let mut norms = vec![0.0; out];
    with_slices([a, b], |[a, b]| {
        let b: Vec<f32> = b.iter().map(|b| b * scaling).collect();
        weight.with_rows(isa, |rows_of| {
            norms.par_chunks_mut(NORMS_AT_A_TIME).enumerate().try_for_each(|(i, norms)| {
                let (first, rows) = (i * NORMS_AT_A_TIME, norms.len());
                with_scratch([rows * inner], |[sum]| {
                    rows_of(first, sum)?;
                    let b = Mat::new(&b[first * r..][..rows * r], rows, r);
                    matmul(isa, b, Rhs::F32(Mat::new(a, r, inner)), &mut MatMut::new(sum, rows, inner), true);
                    dispatch(isa, Norms { rows: sum, norms });
                    Ok::<_, candle_core::Error>(())
                })
            })
        })
    })???;
    from_vec(norms, out)
}

/// The Euclidean norm of each row.
struct Norms<'a> {
    rows: &'a [f32],
    norms: &'a mut [f32],
}

impl Kernel for Norms<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let columns = self.rows.len() / self.norms.len();
        for (i, norm) in self.norms.iter_mut().enumerate() {
            let mut sums = [s.splat(0.0); 4];
            for four in self.rows[i * columns..][..columns].chunks(4 * LANES) {
                for (sum, part) in sums.iter_mut().zip(four.chunks(LANES)) {
                    let x = s.load_part(part, 0.0);
                    *sum = s.fma(x, x, *sum);
                }
            }
            *norm = s.sum4(sums).sqrt();
        }
    }
}

/// What an adapter's columns are scaled by.
pub(super) struct Scales {
    /// `[out, in]`, the adapter's rows of the layer's matrix
    weight: Weight,
    /// The norms of the adapted rows; 1 for a row of zeros, whose output is zero whatever it is divided by.
    norm: Vec<f32>,
    /// Magnitude by norm
    factor: Vec<f32>,
}

impl Linear<'_> {
    /// The scales of each adapter's columns.
    pub(super) fn scales(&self, isa: Isa) -> Result<Vec<Option<Scales>>> {
        self.lora.iter().map(|lora| lora.scales(isa, &self.weight)).collect()
    }
}

impl Lora<'_> {
    /// The scales of this adapter's columns of the layer's `weight`; none without a magnitude.
    fn scales(&self, isa: Isa, weight: &Weight) -> Result<Option<Scales>> {
        let Some(magnitude) = self.magnitude else { return Ok(None) };
        let weight = weight.narrow(self.column, self.b.dim(0)?)?;
        let mut norm = norms(isa, &weight, self.a, self.b, self.scaling)?.to_vec1::<f32>()?;
        if magnitude.dims() != [norm.len()] {
            candle_core::bail!("magnitudes {:?} of an adapter of {} columns", magnitude.dims(), norm.len());
        }
        norm.iter_mut().filter(|norm| **norm == 0.0).for_each(|norm| *norm = 1.0);
        let factor = with_slice(magnitude, |m| m.iter().zip(&norm).map(|(m, norm)| m / norm).collect())?;
        Ok(Some(Scales { weight, norm, factor }))
    }
}

/// The gradient `dy` (`[tokens, width]`) times the factors of those adapters that scale the whole of their columns,
/// which are the ones without dropout; none where there is none.
pub(super) fn through(lora: &[Lora<'_>], scales: &[Option<Scales>], dy: &[f32], width: usize) -> Option<Vec<f32>> {
    let whole = |(lora, scales): (&Lora<'_>, &'_ Option<Scales>)| lora.dropout.is_none() && scales.is_some();
    if !lora.iter().zip(scales).any(whole) {
        return None;
    }
    // SAFETY: both have the same rows, and each is copied whole.
    let mut through = unsafe { unwritten(dy.len()) };
    through.par_chunks_mut(width).with_min_len(ROWS_AT_A_TIME).zip(dy.par_chunks(width)).for_each(|(to, dy)| {
        to.copy_from_slice(dy);
        for (lora, scales) in lora.iter().zip(scales).filter(|(lora, _)| lora.dropout.is_none()) {
            let factor = scales.iter().flat_map(|scales| &scales.factor);
            to[lora.column..].iter_mut().zip(factor).for_each(|(to, k)| *to *= k);
        }
    });
    Some(through)
}

impl Scales {
    fn out(&self) -> usize {
        self.factor.len()
    }

    /// Makes `k·x·Wᵀ` of `x·Wᵀ`, with a dropped input's `base` (`[tokens, out]`, `d·Wᵀ`) `x·Wᵀ + (k − 1)·d·Wᵀ`, in
    /// those of the elements `y` of row `row` from column `first` on that are the adapter's, whose own begin at `column`.
    pub(super) fn scale_row(&self, row: usize, first: usize, column: usize, base: Option<&[f32]>, y: &mut [f32]) {
        let end = (first + y.len()).min(column + self.out());
        let start = first.max(column);
        if start >= end {
            return;
        }
        let (y, own) = (&mut y[start - first..end - first], start - column..end - column);
        let factors = &self.factor[own.clone()];
        match base {
            None => y.iter_mut().zip(factors).for_each(|(y, k)| *y *= k),
            Some(base) => {
                let base = &base[row * self.out()..][own];
                y.iter_mut().zip(base).zip(factors).for_each(|((y, base), k)| *y += (k - 1.0) * base);
            }
        }
    }

    /// `k·B`, row by row
    pub(super) fn times_rows(&self, b: &[f32]) -> Vec<f32> {
        let rows = b.chunks(b.len() / self.out());
        rows.zip(&self.factor).flat_map(|(row, k)| row.iter().map(move |b| k * b)).collect()
    }

    /// `k·dy`, `[tokens, out]`, from rows of `dy` that are `width` apart
    pub(super) fn times_columns(&self, dy: &[f32], width: usize) -> Vec<f32> {
        self.scaled(dy, width, |k| k)
    }

    /// `part += ((k − 1)·dy)·W`, with `part` `[tokens, in]` and rows of `dy` that are `width` apart
    pub(super) fn add_to_input(&self, isa: Isa, dy: &[f32], width: usize, part: &mut [f32]) -> Result<()> {
        let inner = self.weight.dims2()?.1;
        let tokens = part.len() / inner;
        let scaled = self.scaled(dy, width, |k| k - 1.0);
        frozen(isa, &scaled, &self.weight, true, &mut MatMut::new(part, tokens, inner), true, &Tail::default())
    }

    fn scaled(&self, dy: &[f32], width: usize, by: impl Fn(f32) -> f32 + Sync) -> Vec<f32> {
        let mut scaled = vec![0.0; dy.len().div_ceil(width) * self.out()];
        let rows = scaled.par_chunks_mut(self.out()).with_min_len(ROWS_AT_A_TIME);
        rows.zip(dy.par_chunks(width)).for_each(|(to, dy)| {
            to.iter_mut().zip(dy).zip(&self.factor).for_each(|((to, dy), k)| *to = by(*k) * dy);
        });
        scaled
    }

    /// `x·Wᵀ`, `[tokens, out]`, and what follows it.
    pub(super) fn product(&self, isa: Isa, x: &[f32], tail: &Tail<'_>) -> Result<Vec<f32>> {
        let tokens = x.len() / self.weight.dims2()?.1.max(1);
        // SAFETY: a product that is not added to what is there writes every element.
        let mut y = unsafe { unwritten(tokens * self.out()) };
        frozen(isa, x, &self.weight, false, &mut MatMut::new(&mut y, tokens, self.out()), false, tail)?;
        Ok(y)
    }

    /// The gradients of the magnitudes, one a sequence: `y` is `d·Wᵀ + s·d·Aᵀ·Bᵀ` of what the adapter saw, `[tokens, out]`,
    /// and `dy` its columns of the gradient, whose rows are `width` apart.
    pub(super) fn gradients(&self, y: &[f32], dy: &[f32], width: usize, starts: &[usize]) -> Vec<Vec<f32>> {
        let out = self.out();
        let sum = |span: &[usize], first: usize, sums: &mut [f32]| {
            let mut wide = [0.0; COLUMNS_AT_A_TIME];
            for t in span[0]..span[1] {
                let products = dy[t * width + first..].iter().zip(&y[t * out + first..][..sums.len()]);
                wide.iter_mut().zip(products).for_each(|(sum, (dy, y))| *sum += f64::from(*dy) * f64::from(*y));
            }
            let norms = &self.norm[first..];
            sums.iter_mut().zip(wide).zip(norms).for_each(|((to, sum), norm)| *to = (sum / f64::from(*norm)) as f32);
        };
        let sequence = |span: &[usize]| {
            let mut sums = vec![0.0; out];
            let blocks = sums.par_chunks_mut(COLUMNS_AT_A_TIME).enumerate();
            blocks.for_each(|(i, sums)| sum(span, i * COLUMNS_AT_A_TIME, sums));
            sums
        };
        starts.windows(2).map(sequence).collect()
    }
}
