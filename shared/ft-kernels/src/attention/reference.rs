//! Attention in candle operations, sequence by sequence, on any device.

use candle_core::{D, DType, Device, Tensor};

use super::{AttentionSpec, KeyValue};
use crate::error::Result;

/// See [`super::attention`]; candle can differentiate both results.
///
/// # Errors
/// As [`super::attention`].
pub fn attention(qkv: &Tensor, spec: &AttentionSpec, starts: &[usize]) -> Result<(Tensor, Tensor)> {
    super::check(qkv, spec, starts)?;
    let (mut outs, mut lses) = (Vec::new(), Vec::new());
    for (start, len) in sequences(starts) {
        let (q, k, v) = split(&qkv.narrow(0, start, len)?, spec)?;
        let scores = scores(&q, &k, spec)?.broadcast_add(&mask(len, spec, qkv)?)?;
        let largest = scores.max_keepdim(D::Minus1)?.detach();
        let e = scores.broadcast_sub(&largest)?.exp()?;
        let sum = e.sum_keepdim(D::Minus1)?;
        outs.push(merge(&e.broadcast_div(&sum)?.matmul(&v)?)?);
        lses.push((sum.log()? + largest)?.squeeze(D::Minus1)?.t()?);
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
    for (start, len) in sequences(starts) {
        let rows = |t: &Tensor| t.narrow(0, start, len);
        let (q, k, v) = split(&rows(qkv)?, spec)?;
        let (dout, out) = (heads(&rows(dout)?, spec)?, heads(&rows(out)?, spec)?);
        let capped = scores(&q, &k, spec)?;
        let lse = rows(lse)?.t()?.unsqueeze(D::Minus1)?;
        let masked = capped.broadcast_add(&mask(len, spec, qkv)?)?;
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
        let parts_of_row = [merge(&dq)?, merge(&sum_groups(&dk, spec)?)?, merge(&sum_groups(&dv, spec)?)?];
        parts.push(Tensor::cat(&parts_of_row, 1)?);
    }
    Ok(Tensor::cat(&parts, 0)?)
}

/// See [`super::attention_decode`].
///
/// # Errors
/// If the shapes do not fit.
pub fn attention_decode(q: &Tensor, caches: &[KeyValue<'_>], spec: &AttentionSpec) -> Result<Tensor> {
    let mut rows = Vec::new();
    for (i, cache) in caches.iter().enumerate() {
        let len = cache.tokens(spec);
        let first = spec.first_seen(len - 1);
        let side = |values: &[f32]| -> Result<Tensor> {
            let t = Tensor::from_slice(values, (len, spec.key_columns()), q.device())?;
            repeat(&t.narrow(0, first, len - first)?.contiguous()?, spec)
        };
        let (k, v) = (side(cache.keys)?, side(cache.values)?);
        let q = heads(&q.narrow(0, i, 1)?, spec)?;
        let scores = scores(&q, &k, spec)?;
        let e = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
        let p = e.broadcast_div(&e.sum_keepdim(D::Minus1)?)?;
        rows.push(merge(&p.matmul(&v)?)?);
    }
    Ok(Tensor::cat(&rows, 0)?)
}

/// The sequences that are not empty, as (start, length).
fn sequences(starts: &[usize]) -> impl Iterator<Item = (usize, usize)> {
    let pairs = starts.windows(2).map(|pair| (pair[0], pair[1] - pair[0]));
    pairs.filter(|&(_, len)| len > 0)
}

/// Queries, keys and values as `[heads, tokens, head_dim]`, the latter repeated for their groups.
fn split(qkv: &Tensor, spec: &AttentionSpec) -> Result<(Tensor, Tensor, Tensor)> {
    let (nq, nk) = (spec.query_columns(), spec.key_columns());
    let q = heads(&qkv.narrow(1, 0, nq)?, spec)?;
    let k = repeat(&qkv.narrow(1, nq, nk)?, spec)?;
    let v = repeat(&qkv.narrow(1, nq + nk, nk)?, spec)?;
    Ok((q, k, v))
}

/// `[tokens, heads * head_dim]` to `[heads, tokens, head_dim]`.
fn heads(x: &Tensor, spec: &AttentionSpec) -> Result<Tensor> {
    let (tokens, columns) = x.dims2()?;
    let x = x.reshape((tokens, columns / spec.head_dim, spec.head_dim))?;
    Ok(x.transpose(0, 1)?.contiguous()?)
}

/// `[heads, tokens, head_dim]` to `[tokens, heads * head_dim]`.
fn merge(x: &Tensor) -> Result<Tensor> {
    let (heads, tokens, head_dim) = x.dims3()?;
    Ok(x.transpose(0, 1)?.reshape((tokens, heads * head_dim))?)
}

/// Key heads, each as often as query heads use it.
fn repeat(x: &Tensor, spec: &AttentionSpec) -> Result<Tensor> {
    let (tokens, columns) = x.dims2()?;
    let kv_heads = columns / spec.head_dim;
    let x = heads(x, spec)?.unsqueeze(1)?;
    let x = x.broadcast_as((kv_heads, spec.group(), tokens, spec.head_dim))?;
    Ok(x.contiguous()?.reshape((kv_heads * spec.group(), tokens, spec.head_dim))?)
}

/// The gradient of [`repeat`].
fn sum_groups(x: &Tensor, spec: &AttentionSpec) -> Result<Tensor> {
    let (_, tokens, head_dim) = x.dims3()?;
    let x = x.reshape((spec.num_kv_heads, spec.group(), tokens, head_dim))?;
    Ok(x.sum(1)?)
}

/// The capped, not yet masked scores `[heads, queries, keys]`.
fn scores(q: &Tensor, k: &Tensor, spec: &AttentionSpec) -> Result<Tensor> {
    let scores = (q.matmul(&k.t()?.contiguous()?)? * f64::from(spec.scale))?;
    Ok(match spec.softcap {
        Some(cap) => ((scores / f64::from(cap))?.tanh()? * f64::from(cap))?,
        None => scores,
    })
}

/// Minus infinity where a token must not look, else 0.
fn mask(len: usize, spec: &AttentionSpec, like: &Tensor) -> Result<Tensor> {
    let mut values = vec![f32::NEG_INFINITY; len * len];
    for (position, row) in values.chunks_mut(len).enumerate() {
        row[spec.first_seen(position)..=position].fill(0.0);
    }
    let mask = Tensor::from_vec(values, (1, len, len), &Device::Cpu)?;
    let mask = mask.to_dtype(if like.dtype() == DType::F64 { DType::F64 } else { DType::F32 })?;
    Ok(mask.to_device(like.device())?.to_dtype(like.dtype())?)
}
