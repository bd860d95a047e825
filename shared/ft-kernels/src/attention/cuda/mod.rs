//! Attention by kernels of our own: on tensor cores where the type and the heads' width allow it, else in f32.

mod decode;
mod kernels;
mod plain;
mod tensor_cores;

pub use decode::attention_decode;

use candle_core::{DType, Tensor};

use self::kernels::{Gradient, Kernels};
use super::AttentionSpec;
use crate::cuda::{Grid, Launch, Output, words};
use crate::error::Result;

/// The kernels for rows of this type and heads of this shape.
fn choose(dtype: DType, spec: &AttentionSpec) -> Result<Kernels> {
    tensor_cores::kernels(dtype, spec).map_or_else(|| plain::kernels(spec), Ok)
}

/// Tiles of `rows` tokens, four words each: the sequence's first row and length, the tile's first token in it, and nothing.
/// The last ones of long sequences, which see most, come first.
fn tiles(starts: &[usize], rows: usize) -> Vec<u32> {
    let of = |pair: &[usize]| {
        let (start, length) = (pair[0], pair[1] - pair[0]);
        (0..length).step_by(rows).map(move |first| [start as u32, length as u32, first as u32, 0])
    };
    let mut all: Vec<[u32; 4]> = starts.windows(2).flat_map(of).collect();
    all.sort_by_key(|tile| std::cmp::Reverse(tile[2]));
    all.concat()
}

/// See [`super::attention`].
pub fn attention(qkv: &Tensor, spec: &AttentionSpec, starts: &[usize]) -> Result<(Tensor, Tensor)> {
    let (qkv, dtype, device) = (&qkv.contiguous()?, qkv.dtype(), qkv.device());
    let (tokens, heads) = (qkv.dims()[0], spec.num_heads);
    let kernels = choose(dtype, spec)?;
    let tiles = tiles(starts, kernels.rows);
    let placed = words(&tiles, device)?;
    // SAFETY: the tiles are all tokens, and the kernel writes all heads of each.
    let (mut out, mut lse) = unsafe {
        let out = Output::new(device, dtype, (tokens, spec.query_columns()))?;
        (out, Output::new(device, DType::F32, (tokens, heads))?)
    };
    let (name, shared) = &kernels.forward;
    let call = Launch::new(kernels.module, name, dtype).read(qkv).read_as(&placed, DType::U32);
    let call = kernels.with_spec(call.write(&mut out).write(&mut lse), spec);
    // SAFETY: the operator has checked qkv's columns and that starts end with its rows, and the tiles are of these.
    unsafe { call.run(kernels.grid(&tiles, heads, *shared))? };
    Ok((out.into_tensor(), lse.into_tensor()))
}

/// See [`super::attention_backward`].
pub fn attention_backward(
    dout: &Tensor,
    qkv: &Tensor,
    out: &Tensor,
    lse: &Tensor,
    spec: &AttentionSpec,
    starts: &[usize],
) -> Result<Tensor> {
    let [dout, qkv, out, lse] = &[dout.contiguous()?, qkv.contiguous()?, out.contiguous()?, lse.contiguous()?];
    let (dtype, device) = (qkv.dtype(), qkv.device());
    let delta = &delta(dout, out, spec)?;
    let kernels = choose(dtype, spec)?;
    let tiles = tiles(starts, kernels.rows);
    let placed = &words(&tiles, device)?;
    // SAFETY: the kernels together write the columns of queries, keys and values of all tokens.
    let mut dqkv = unsafe { Output::new(device, dtype, qkv.shape())? };
    for Gradient { name, heads, shared } in &kernels.backward {
        let call = Launch::new(kernels.module, name, dtype).read(dout).read(qkv);
        let call = call.read_as(lse, DType::F32).read_as(delta, DType::F32).read_as(placed, DType::U32);
        let call = kernels.with_spec(call.write(&mut dqkv), spec);
        // SAFETY: as in the forward, and dout and lse are of its results' shapes.
        unsafe { call.run(kernels.grid(&tiles, *heads, *shared))? };
    }
    Ok(dqkv.into_tensor())
}

/// `sum(dout * out)` of each token and head, `[tokens, heads]`.
fn delta(dout: &Tensor, out: &Tensor, spec: &AttentionSpec) -> Result<Tensor> {
    const WARPS: usize = 4;
    let rows = out.dims()[0] * spec.num_heads;
    // SAFETY: the kernel writes every row of a head.
    let mut delta = unsafe { Output::new(out.device(), DType::F32, (out.dims()[0], spec.num_heads))? };
    let call = Launch::new("attention", "attention_delta", out.dtype()).read(dout).read(out).write(&mut delta);
    // SAFETY: both have a row of head_dim columns for each token and head.
    unsafe { call.u32(rows as u32).int(spec.head_dim).run(Grid::line(rows.div_ceil(WARPS), WARPS * 32))? };
    Ok(delta.into_tensor())
}

#[cfg(test)]
mod tests {
    #[test]
    fn tiles_are_the_sequences_and_the_last_come_first() {
        let tile = |start, length, first| [start, length, first, 0];
        let expected = [tile(0, 20, 16), tile(0, 20, 0), tile(20, 3, 0)].concat();
        assert_eq!(super::tiles(&[0, 20, 20, 23], 16), expected);
    }
}
