//! One adapter, forward and backward, over slices.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::dora::Scales;
use super::{Lora, LoraGradient};
use crate::backend::Isa;
use crate::gemm::{Mat, MatMut, Rhs, matmul};
use crate::philox;
use crate::tensor::{from_vec, uninit, with_slices};

/// What all adapters of a layer go back through.
pub(super) struct Rows<'a> {
    pub isa: Isa,
    /// `[tokens, width]`, the gradient of the layer's output.
    pub dy: &'a [f32],
    /// The same, times the factors of the magnitudes where they apply to the whole of a column.
    pub through: &'a [f32],
    pub width: usize,
    /// `[tokens, inner]`, the layer's input.
    pub x: &'a [f32],
    pub inner: usize,
    pub starts: &'a [usize],
}

impl Lora<'_> {
    /// Adds this adapter's output to its columns of `y` (`[tokens, width]`), which hold the product with
    /// `weight`, the whole layer's, and for an adapter with a magnitude nothing else.
    pub(super) fn add_forward(
        &self,
        isa: Isa,
        weight: &Tensor,
        x: &Tensor,
        starts: &[usize],
        y: &mut [f32],
        width: usize,
    ) -> Result<()> {
        let (tokens, inner) = x.dims2()?;
        let (out, r) = self.b.dims2()?;
        let scales = self.scales(isa, weight)?;
        with_slices([x, self.a, self.b], |[x, a, b]| {
            let kept = self.dropped(isa, x, inner, starts);
            let y = &mut y[self.column..];
            let mut scaled_b = None;
            if let Some(scales) = &scales {
                scales.scale_product(isa, kept.as_deref(), y, width)?;
                scaled_b = Some(scales.times_rows(b));
            }
            let low = self.low(isa, kept.as_deref().unwrap_or(x), a, inner);
            let b = Rhs::F32(Mat::new(scaled_b.as_deref().unwrap_or(b), out, r));
            matmul(isa, Mat::new(&low, tokens, r), b.t(), &mut MatMut::strided(y, tokens, out, width), true);
            Ok(())
        })?
    }

    /// `s·x·Aᵀ`, `[tokens, r]`
    fn low(&self, isa: Isa, x: &[f32], a: &[f32], inner: usize) -> Vec<f32> {
        let (tokens, r) = (x.len() / inner, a.len() / inner);
        let mut low = uninit(tokens * r);
        let a = Rhs::F32(Mat::new(a, r, inner)).t();
        matmul(isa, Mat::new(x, tokens, inner), a, &mut MatMut::new(&mut low, tokens, r), false);
        low.iter_mut().for_each(|u| *u *= self.scaling);
        low
    }

    /// Adds this adapter's part to `dx` and returns its gradients, one a sequence.
    pub(super) fn add_backward(
        &self,
        adapter: usize,
        scales: Option<&Scales>,
        rows: &Rows<'_>,
        dx: Option<&mut [f32]>,
    ) -> Result<Vec<LoraGradient>> {
        let &Rows { isa, width, inner, starts, .. } = rows;
        let (out, r) = self.b.dims2()?;
        with_slices([self.a, self.b], |[a, b]| {
            let tokens = rows.x.len() / inner;
            let own =
                scales.filter(|_| self.dropout.is_some()).map(|s| s.times_columns(&rows.dy[self.column..], width));
            let dy = match &own {
                Some(own) => Mat::new(own, tokens, out),
                None => Mat::strided(&rows.through[self.column..], tokens, out, width),
            };
            let mut dlow = uninit(tokens * r);
            let b = Rhs::F32(Mat::new(b, out, r));
            matmul(isa, dy, b, &mut MatMut::new(&mut dlow, tokens, r), false);
            dlow.iter_mut().for_each(|u| *u *= self.scaling);
            let kept = self.dropped(isa, rows.x, inner, starts);
            if let Some(dx) = dx {
                self.add_to_input(&dlow, a, scales, rows, dx)?;
            }
            let x = kept.as_deref().unwrap_or(rows.x);
            let low = self.low(isa, x, a, inner);
            let x = Mat::new(x, tokens, inner);
            let mut gradients = gradients(isa, adapter, starts, [dy, x], [&low, &dlow], r)?;
            if let Some(scales) = scales {
                let magnitudes = scales.gradients(x, &low, b, &rows.dy[self.column..], rows)?;
                for (gradient, magnitude) in gradients.iter_mut().zip(magnitudes) {
                    gradient.magnitude = Some(from_vec(magnitude, out)?);
                }
            }
            Ok(gradients)
        })?
    }

    /// `dx += mask ⊙ (dlow·A)`; with a magnitude, what goes back through the masked product too.
    fn add_to_input(
        &self,
        dlow: &[f32],
        a: &[f32],
        scales: Option<&Scales>,
        rows: &Rows<'_>,
        dx: &mut [f32],
    ) -> Result<()> {
        let &Rows { isa, inner, .. } = rows;
        let (tokens, r) = (dx.len() / inner, a.len() / inner);
        let a = Rhs::F32(Mat::new(a, r, inner));
        let dlow = Mat::new(dlow, tokens, r);
        if self.dropout.is_none() {
            matmul(isa, dlow, a, &mut MatMut::new(dx, tokens, inner), true);
            return Ok(());
        }
        let mut part = uninit(tokens * inner);
        matmul(isa, dlow, a, &mut MatMut::new(&mut part, tokens, inner), false);
        if let Some(scales) = scales {
            scales.add_to_input(isa, &rows.dy[self.column..], rows.width, &mut part)?;
        }
        if let Some(masked) = self.dropped(isa, &part, inner, rows.starts) {
            dx.par_chunks_mut(inner).zip(masked.par_chunks(inner)).for_each(|(dx, part)| {
                dx.iter_mut().zip(part).for_each(|(dx, p)| *dx += p);
            });
        }
        Ok(())
    }

    /// `x` (`[tokens, cols]`) times the dropout's mask; none where there is no dropout.
    fn dropped(&self, isa: Isa, x: &[f32], cols: usize, starts: &[usize]) -> Option<Vec<f32>> {
        let dropout = self.dropout.as_ref()?;
        let mut kept = uninit(x.len());
        for (stream, span) in dropout.streams.iter().zip(starts.windows(2)) {
            kept[span[0] * cols..span[1] * cols]
                .par_chunks_mut(cols)
                .zip(x[span[0] * cols..].par_chunks(cols))
                .enumerate()
                .for_each(|(t, (kept, x))| {
                    philox::dropout_scale(isa, stream, t, cols, dropout.p, kept);
                    kept.iter_mut().zip(x).for_each(|(k, x)| *k *= x);
                });
        }
        Some(kept)
    }
}

/// For each sequence the gradients of `A`, `dlowᵀ·x`, and of `B`, `dyᵀ·low`.
fn gradients(
    isa: Isa,
    adapter: usize,
    starts: &[usize],
    [dy, x]: [Mat<'_, f32>; 2],
    [low, dlow]: [&[f32]; 2],
    r: usize,
) -> Result<Vec<LoraGradient>> {
    let (out, inner) = (dy.cols, x.cols);
    let one = |(sequence, span): (usize, &[usize])| {
        let (from, length) = (span[0], span[1] - span[0]);
        let (mut da, mut db) = (uninit(r * inner), uninit(out * r));
        let dlow = Mat::new(&dlow[from * r..][..length * r], length, r).t();
        matmul(isa, dlow, Rhs::F32(x.rows_of(from, length)), &mut MatMut::new(&mut da, r, inner), false);
        let low = Rhs::F32(Mat::new(&low[from * r..][..length * r], length, r));
        matmul(isa, dy.rows_of(from, length).t(), low, &mut MatMut::new(&mut db, out, r), false);
        let (a, b) = (from_vec(da, (r, inner))?, from_vec(db, (out, r))?);
        Ok(LoraGradient { adapter, sequence, a, b, magnitude: None })
    };
    starts.par_windows(2).enumerate().map(one).collect()
}
