//! The operator by its contract: whichever version the backend has.

use candle_core::Tensor;

use super::{AttentionSpec, KeyValue, check, check_decode, cpu, cuda, reference};
use crate::backend::{Backend, Compute};
use crate::error::{Result, expect_shape};

/// Attention of `qkv` `[tokens, (heads + 2 kv_heads) * head_dim]`; sequence `i` is the tokens
/// `starts[i]..starts[i + 1]`. Returns the result `[tokens, heads * head_dim]` and `lse`
/// `[tokens, heads]`.
///
/// # Errors
/// If the shapes do not fit, or `starts` does not rise from 0 to the number of tokens.
pub fn attention(compute: Compute, qkv: &Tensor, spec: &AttentionSpec, starts: &[usize]) -> Result<(Tensor, Tensor)> {
    check(qkv, spec, starts)?;
    match compute.backend {
        Backend::Cpu => cpu::attention(compute.isa, qkv, spec, starts),
        Backend::Reference => reference::attention(qkv, spec, starts),
        Backend::Cuda => cuda::attention(qkv, spec, starts),
    }
}

/// The gradient of [`attention`] for `qkv`, from that of its result. `out` and `lse` are what it
/// returned.
///
/// # Errors
/// As [`attention`].
pub fn attention_backward(
    compute: Compute,
    dout: &Tensor,
    qkv: &Tensor,
    out: &Tensor,
    lse: &Tensor,
    spec: &AttentionSpec,
    starts: &[usize],
) -> Result<Tensor> {
    const NAME: &str = "attention_backward";
    check(qkv, spec, starts)?;
    let tokens = qkv.dims()[0];
    let wanted = [tokens, spec.query_columns()];
    expect_shape(dout.dims() == wanted, NAME, "dout", wanted, dout.dims())?;
    expect_shape(out.dims() == wanted, NAME, "out", wanted, out.dims())?;
    let wanted = [tokens, spec.num_heads];
    expect_shape(lse.dims() == wanted, NAME, "lse", wanted, lse.dims())?;
    match compute.backend {
        Backend::Cpu => cpu::attention_backward(compute.isa, dout, qkv, out, lse, spec, starts),
        Backend::Reference => reference::attention_backward(dout, qkv, out, lse, spec, starts),
        Backend::Cuda => cuda::attention_backward(dout, qkv, out, lse, spec, starts),
    }
}

/// Attention of one rotated query a sequence, `q` `[sequences, heads * head_dim]`, to the tokens in
/// its cache.
///
/// # Errors
/// If there is not one cache a query, or a cache is empty or not whole rows.
pub fn attention_decode(compute: Compute, q: &Tensor, caches: &[KeyValue<'_>], spec: &AttentionSpec) -> Result<Tensor> {
    check_decode(q, caches, spec)?;
    match compute.backend {
        Backend::Cpu => cpu::attention_decode(compute.isa, q, caches, spec),
        Backend::Reference => reference::attention_decode(q, caches, spec),
        Backend::Cuda => {
            let side = |values: &[f32]| {
                let columns = spec.key_columns();
                Tensor::from_slice(values, (values.len() / columns, columns), q.device())
            };
            let placed = caches.iter().map(|cache| Ok((side(cache.keys)?, side(cache.values)?)));
            cuda::attention_decode(q, &placed.collect::<Result<Vec<_>>>()?, spec)
        }
    }
}

/// [`attention_decode`] where keys and values, each `[tokens, kv_heads * head_dim]`, are on a device.
///
/// # Errors
/// If the shapes do not fit.
pub fn attention_decode_placed(
    compute: Compute,
    q: &Tensor,
    caches: &[(Tensor, Tensor)],
    spec: &AttentionSpec,
) -> Result<Tensor> {
    match compute.backend {
        Backend::Cuda => cuda::attention_decode(q, caches, spec),
        Backend::Cpu | Backend::Reference => reference::attention_decode_placed(q, caches, spec),
    }
}
