//! The layer's forward on the CPU.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::Linear;
use super::dora::Scales;
use super::products::{frozen, product_few_slice};
use super::stack::{Stack, dropped, with_stack};
use crate::backend::Isa;
use crate::gemm::{MatMut, Tail};
use crate::tensor::{from_vec, unwritten, with_slice};

/// See [`Linear::forward`].
pub(super) fn forward(
    isa: Isa,
    layer: &Linear<'_>,
    x: &Tensor,
    starts: &[usize],
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let ((tokens, _), out) = (x.dims2()?, layer.width()?);
    check_residual(residual, tokens, out)?;
    // SAFETY: `preset` writes every element and says so, or the product does, which is then not added to what is there.
    let mut y = unsafe { unwritten(tokens * out) };
    let preset = !layer.has_magnitudes() && preset(layer, &mut y, residual)?;
    with_adapters(isa, layer, x, starts, residual, |x, tail| {
        frozen(isa, x, &layer.weight, false, &mut MatMut::new(&mut y, tokens, out), preset, tail)
    })?;
    from_vec(y, (tokens, out))
}

/// See [`Linear::forward_few`]. The frozen product has no blocks here, so the adapters' follow it.
pub(super) fn forward_few(isa: Isa, layer: &Linear<'_>, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
    let ((tokens, _), out) = (x.dims2()?, layer.width()?);
    check_residual(residual, tokens, out)?;
    let mut y = product_few_slice(isa, x, &layer.weight)?;
    if !layer.has_magnitudes() {
        with_rest(layer, residual, |add| y.chunks_mut(out.max(1)).enumerate().for_each(|(i, row)| add(i, 0, row)))?;
    }
    with_adapters(isa, layer, x, &[], residual, |_, tail| {
        tail.apply(isa, &mut MatMut::new(&mut y, tokens, out));
        Ok(())
    })?;
    from_vec(y, (tokens, out))
}

/// Fails where the residual is not of the output's shape: the rows that it lacks would stay unwritten.
fn check_residual(residual: Option<&Tensor>, tokens: usize, out: usize) -> Result<()> {
    match residual {
        Some(residual) if residual.dims() != [tokens, out] => {
            candle_core::bail!("a residual {:?} is added to an output [{tokens}, {out}]", residual.dims())
        }
        _ => Ok(()),
    }
}

/// Fills `y` with what the product is added to; false where there is nothing.
fn preset(layer: &Linear<'_>, y: &mut [f32], residual: Option<&Tensor>) -> Result<bool> {
    let out = layer.width()?;
    if let Some(residual) = residual {
        if residual.elem_count() != y.len() {
            candle_core::bail!("a residual {:?} of an output of {} elements", residual.dims(), y.len());
        }
        with_slice(residual, |r| {
            y.par_chunks_mut(1 << 16).zip(r.par_chunks(1 << 16)).for_each(|(y, r)| y.copy_from_slice(r));
        })?;
    }
    let Some(bias) = layer.bias else { return Ok(residual.is_some()) };
    with_slice(bias, |bias| {
        y.par_chunks_mut(out).for_each(|row| match residual {
            Some(_) => row.iter_mut().zip(bias).for_each(|(y, b)| *y += b),
            None => row.copy_from_slice(bias),
        });
    })?;
    Ok(true)
}

/// Calls `f` with the input and what follows the frozen product: the adapters, and bias and residual where those cannot
/// stand before it.
fn with_adapters(
    isa: Isa,
    layer: &Linear<'_>,
    x: &Tensor,
    starts: &[usize],
    residual: Option<&Tensor>,
    f: impl FnOnce(&[f32], &Tail<'_>) -> Result<()>,
) -> Result<()> {
    let (tokens, inner) = x.dims2()?;
    let scales = layer.scales(isa)?;
    with_slice(x, |x| {
        if layer.lora.is_empty() {
            return f(x, &Tail::default());
        }
        let dropped = dropped(isa, layer, x, inner, starts)?;
        with_stack(layer, inner, |stack| {
            let low = stack.low(isa, x, &dropped);
            let bases = bases(isa, &scales, &dropped)?;
            drop(dropped);
            let scaled = scaled_factors(stack, &scales);
            let parts = stack.adapters.iter().zip(&scaled);
            let parts = parts.map(|(adapter, b)| adapter.part(&low, tokens, stack.rank(), b.as_deref())).collect();
            if !layer.has_magnitudes() {
                return f(x, &Tail::new(None, parts, None));
            }
            let scale = |row: usize, first: usize, y: &mut [f32]| {
                for ((adapter, scales), base) in stack.adapters.iter().zip(&scales).zip(&bases) {
                    if let Some(scales) = scales {
                        scales.scale_row(row, first, adapter.lora.column, base.as_deref(), y);
                    }
                }
            };
            with_rest(layer, residual, |add| f(x, &Tail::new(Some(&scale), parts, Some(add))))?
        })
    })?
}

/// `d·Wᵀ` of the dropped input of each adapter with a magnitude and a dropout, `[tokens, out]`.
fn bases(isa: Isa, scales: &[Option<Scales>], dropped: &[Option<Vec<f32>>]) -> Result<Vec<Option<Vec<f32>>>> {
    let one = |(scales, dropped): (&Option<Scales>, &Option<Vec<f32>>)| match (scales, dropped) {
        (Some(scales), Some(dropped)) => scales.product(isa, dropped, &Tail::default()).map(Some),
        _ => Ok(None),
    };
    scales.iter().zip(dropped).map(one).collect()
}

/// `k·B` of each adapter with a magnitude.
fn scaled_factors(stack: &Stack<'_>, scales: &[Option<Scales>]) -> Vec<Option<Vec<f32>>> {
    let one = |(i, scales): (usize, &Option<Scales>)| Some(scales.as_ref()?.times_rows(stack.adapters[i].b));
    scales.iter().enumerate().map(one).collect()
}

/// Calls `f` with what adds bias and then residual to some elements of a row.
fn with_rest<R>(
    layer: &Linear<'_>,
    residual: Option<&Tensor>,
    f: impl FnOnce(&(dyn Fn(usize, usize, &mut [f32]) + Sync)) -> R,
) -> Result<R> {
    let out = layer.width()?;
    let tensors: Vec<&Tensor> = layer.bias.into_iter().chain(residual).collect();
    crate::tensor::with_list(&tensors, |slices| {
        let bias = layer.bias.and_then(|_| slices.first().copied());
        let residual = residual.and_then(|_| slices.last().copied());
        f(&|row, first, y| {
            if let Some(bias) = bias {
                y.iter_mut().zip(&bias[first..]).for_each(|(y, b)| *y += b);
            }
            if let Some(residual) = residual {
                y.iter_mut().zip(&residual[row * out + first..]).for_each(|(y, r)| *y += r);
            }
        })
    })
}
