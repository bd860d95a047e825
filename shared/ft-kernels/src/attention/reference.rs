//! Attention in candle operations, on any device: sequences of one length that follow each other at once.

use candle_core::{D, Tensor};

use super::{AttentionSpec, KeyValue};
use crate::error::Result;
use crate::runs::{Run, runs};

/// See [`super::attention`]; candle can differentiate both results.
///
/// # Errors
/// As [`super::attention`].
pub fn attention(qkv: &Tensor, spec: &AttentionSpec, starts: &[usize]) -> Result<(Tensor, Tensor)> {
    super::check(qkv, spec, starts)?;
    let (mut outs, mut lses) = (Vec::new(), Vec::new());
    for alike in runs(starts, most_at_once(spec, starts)) {
        let (q, k, v) = split(&alike.rows(qkv)?, spec, &alike)?;
        let scores = scores(&q, &k, spec)?.broadcast_add(&mask(alike.len, spec, qkv)?)?;
        let largest = scores.max_keepdim(D::Minus1)?.detach();
        let e = scores.broadcast_sub(&largest)?.exp()?;
        let sum = e.sum_keepdim(D::Minus1)?;
        outs.push(merge(&e.broadcast_div(&sum)?.matmul(&v)?, &alike)?);
        lses.push(merge(&(sum.log()? + largest)?, &alike)?);
    }
    if outs.is_empty() {
        return Ok((nothing(qkv, spec.query_columns())?, nothing(qkv, spec.num_heads)?));
    }
    Ok((Tensor::cat(&outs, 0)?, Tensor::cat(&lses, 0)?.contiguous()?))
}

/// See [`super::attention_backward`].
///
/// # Errors
/// As [`super::attention`].
pub fn attention_backward(
    dout: &Tensor,
    qkv: &Tensor,
    out: &Tensor,
    lse: &Tensor,
    spec: &AttentionSpec,
    starts: &[usize],
) -> Result<Tensor> {
    super::check(qkv, spec, starts)?;
    let mut parts = Vec::new();
    for alike in runs(starts, most_at_once(spec, starts)) {
        let (q, k, v) = split(&alike.rows(qkv)?, spec, &alike)?;
        let by_head = |t: &Tensor| heads(&alike.rows(t)?, spec.head_dim, &alike);
        let (dout, out) = (by_head(dout)?, by_head(out)?);
        let capped = scores(&q, &k, spec)?;
        let lse = heads(&alike.rows(lse)?, 1, &alike)?;
        let masked = capped.broadcast_add(&mask(alike.len, spec, qkv)?)?;
        let p = masked.broadcast_sub(&lse)?.exp()?;
        let dv = p.t()?.contiguous()?.matmul(&dout)?;
        let dp = dout.matmul(&v.t()?.contiguous()?)?;
        let delta = (&dout * out)?.sum_keepdim(D::Minus1)?;
        let mut ds = (p * dp.broadcast_sub(&delta)?)?;
        if let Some(cap) = spec.softcap {
            let slope = (1.0 - (capped / f64::from(cap))?.sqr()?)?;
            ds = (ds * slope)?;
        }
        let ds = (ds * f64::from(spec.scale))?;
        let dq = ds.matmul(&k)?;
        let dk = ds.t()?.contiguous()?.matmul(&q)?;
        let summed = |t: &Tensor| merge(&sum_groups(t, spec)?, &alike);
        parts.push(Tensor::cat(&[merge(&dq, &alike)?, summed(&dk)?, summed(&dv)?], 1)?);
    }
    if parts.is_empty() {
        return nothing(qkv, spec.qkv_columns());
    }
    Ok(Tensor::cat(&parts, 0)?)
}

/// No rows: what sequences without a token give.
fn nothing(like: &Tensor, columns: usize) -> Result<Tensor> {
    Ok(Tensor::zeros((0, columns), like.dtype(), like.device())?)
}

/// See [`super::attention_decode`].
///
/// # Errors
/// If the shapes do not fit.
pub fn attention_decode(q: &Tensor, caches: &[KeyValue<'_>], spec: &AttentionSpec) -> Result<Tensor> {
    let side = |values: &[f32]| {
        let columns = spec.key_columns();
        Tensor::from_slice(values, (values.len() / columns, columns), q.device())
    };
    let placed = caches.iter().map(|cache| Ok((side(cache.keys)?, side(cache.values)?)));
    attention_decode_placed(q, &placed.collect::<Result<Vec<_>>>()?, spec)
}

/// [`super::attention_decode`] where keys and values, each `[tokens, kv_heads * head_dim]`, are on a device.
///
/// # Errors
/// If the shapes do not fit.
pub fn attention_decode_placed(q: &Tensor, caches: &[(Tensor, Tensor)], spec: &AttentionSpec) -> Result<Tensor> {
    let (kv_heads, group, width) = (spec.num_kv_heads, spec.group(), spec.head_dim);
    let mut rows = Vec::with_capacity(caches.len());
    for (i, (keys, values)) in caches.iter().enumerate() {
        let len = keys.dim(0)?;
        let first = spec.first_seen(len.saturating_sub(1));
        let by_head = |t: &Tensor| -> Result<Tensor> {
            let seen = t.narrow(0, first, len - first)?.reshape((len - first, kv_heads, width))?;
            Ok(seen.transpose(0, 1)?.contiguous()?)
        };
        // Query heads that share a key head stand beside each other.
        let q = q.narrow(0, i, 1)?.reshape((kv_heads, group, width))?;
        let scores = scores(&q, &by_head(keys)?, spec)?;
        let e = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
        let p = e.broadcast_div(&e.sum_keepdim(D::Minus1)?)?;
        rows.push(p.matmul(&by_head(values)?)?.reshape((1, spec.query_columns()))?);
    }
    Ok(Tensor::cat(&rows, 0)?)
}

/// Elements of the scores that exist at a time, where that is several sequences.
const MOST_SCORES: usize = 1 << 26;

/// How many sequences of the longest one's length may be computed at once.
fn most_at_once(spec: &AttentionSpec, starts: &[usize]) -> usize {
    let longest = starts.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
    (MOST_SCORES / (spec.num_heads * longest * longest).max(1)).max(1)
}

/// `[tokens, heads * width]` to `[sequences * heads, tokens of one, width]`.
fn heads(x: &Tensor, width: usize, alike: &Run) -> Result<Tensor> {
    let Run { count, len, .. } = *alike;
    let heads = x.dim(1)? / width;
    let x = x.reshape((count, len, heads, width))?.transpose(1, 2)?.contiguous()?;
    Ok(x.reshape((count * heads, len, width))?)
}

/// The other way.
fn merge(x: &Tensor, alike: &Run) -> Result<Tensor> {
    let Run { count, len, .. } = *alike;
    let (all, _, width) = x.dims3()?;
    let heads = all / count;
    let x = x.reshape((count, heads, len, width))?.transpose(1, 2)?.contiguous()?;
    Ok(x.reshape((count * len, heads * width))?)
}

/// Queries, keys and values by head, the latter repeated for their groups.
fn split(qkv: &Tensor, spec: &AttentionSpec, alike: &Run) -> Result<(Tensor, Tensor, Tensor)> {
    let (nq, nk) = (spec.query_columns(), spec.key_columns());
    let q = heads(&qkv.narrow(1, 0, nq)?, spec.head_dim, alike)?;
    let k = repeat(&qkv.narrow(1, nq, nk)?, spec, alike)?;
    let v = repeat(&qkv.narrow(1, nq + nk, nk)?, spec, alike)?;
    Ok((q, k, v))
}

/// Key heads, each as often as query heads use it.
fn repeat(x: &Tensor, spec: &AttentionSpec, alike: &Run) -> Result<Tensor> {
    let x = heads(x, spec.head_dim, alike)?;
    let (all, tokens, head_dim) = x.dims3()?;
    let x = x.unsqueeze(1)?.broadcast_as((all, spec.group(), tokens, head_dim))?;
    Ok(x.contiguous()?.reshape((all * spec.group(), tokens, head_dim))?)
}

/// The gradient of [`repeat`].
fn sum_groups(x: &Tensor, spec: &AttentionSpec) -> Result<Tensor> {
    let (all, tokens, head_dim) = x.dims3()?;
    Ok(x.reshape((all / spec.group(), spec.group(), tokens, head_dim))?.sum(1)?)
}

/// The capped, not yet masked scores `[heads, queries, keys]`.
fn scores(q: &Tensor, k: &Tensor, spec: &AttentionSpec) -> Result<Tensor> {
    let scores = (q.matmul(&k.t()?.contiguous()?)? * f64::from(spec.scale))?;
    Ok(match spec.softcap {
        Some(cap) => ((scores / f64::from(cap))?.tanh()? * f64::from(cap))?,
        None => scores,
    })
}

/// Minus infinity where a token must not look, else 0: `[1, queries, keys]`.
fn mask(len: usize, spec: &AttentionSpec, like: &Tensor) -> Result<Tensor> {
    let device = like.device();
    let places = Tensor::arange(0f32, len as f32, device)?;
    let ahead = places.unsqueeze(0)?.broadcast_sub(&places.unsqueeze(1)?)?;
    let mut hidden = ahead.gt(0.0)?;
    if let Some(window) = spec.sliding_window {
        hidden = (hidden + ahead.le(-(window as f64))?)?;
    }
    let never = Tensor::full(f32::NEG_INFINITY, (len, len), device)?;
    let mask = hidden.where_cond(&never, &never.zeros_like()?)?;
    Ok(mask.unsqueeze(0)?.to_dtype(like.dtype())?)
}
