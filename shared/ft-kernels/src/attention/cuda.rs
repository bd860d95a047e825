//! Attention by kernels of our own, `kernels/attention.cu`.

use candle_core::{DType, Tensor};

use super::AttentionSpec;
use crate::cuda::{Grid, Launch, Output, words};
use crate::error::{Error, Result};

/// Threads of a block, and rows of its two tiles, as the kernels have them.
const THREADS: usize = 128;
const QUERIES: usize = 16;
const KEYS: usize = 32;
/// Columns of a head, at most.
const MOST_COLUMNS: usize = 256;

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

/// A kernel's last arguments.
fn with_spec<'a>(call: Launch<'a>, spec: &AttentionSpec) -> Launch<'a> {
    let call = call.int(spec.num_heads).int(spec.num_kv_heads).int(spec.head_dim).f32(spec.scale);
    call.int(spec.sliding_window.unwrap_or(0)).f32(spec.softcap.unwrap_or(0.0))
}

/// A block for each tile of `rows` tokens and each head, with room for `of_queries` and `of_keys` tiles of a head's rows and
/// `weights` numbers for each pair.
fn grid(tiles: &[u32], heads: usize, spec: &AttentionSpec, of_queries: usize, of_keys: usize, weights: usize) -> Grid {
    let floats = (of_queries * QUERIES + of_keys * KEYS) * (spec.head_dim + 1) + weights * QUERIES * KEYS;
    Grid { shared: floats * size_of::<f32>(), ..Grid::plane(tiles.len() / 4, heads, THREADS) }
}

fn check(spec: &AttentionSpec) -> Result<()> {
    match spec.head_dim {
        1..=MOST_COLUMNS => Ok(()),
        other => Err(Error::shape("attention", "head_dim", format!("1 to {MOST_COLUMNS}"), other)),
    }
}

/// See [`super::attention`].
pub fn attention(qkv: &Tensor, spec: &AttentionSpec, starts: &[usize]) -> Result<(Tensor, Tensor)> {
    check(spec)?;
    let (qkv, dtype, device) = (&qkv.contiguous()?, qkv.dtype(), qkv.device());
    let (tokens, heads) = (qkv.dims()[0], spec.num_heads);
    let tiles = tiles(starts, QUERIES);
    let placed = words(&tiles, device)?;
    // SAFETY: the tiles are all tokens, and the kernel writes all heads of each.
    let (mut out, mut lse) = unsafe {
        let out = Output::new(device, dtype, (tokens, spec.query_columns()))?;
        (out, Output::new(device, DType::F32, (tokens, heads))?)
    };
    let call = Launch::new("attention", "attention", dtype).read(qkv).read_as(&placed, DType::U32);
    let call = with_spec(call.write(&mut out).write(&mut lse), spec);
    // SAFETY: the operator has checked qkv's columns and that starts end with its rows, and the tiles are of these.
    unsafe { call.run(grid(&tiles, heads, spec, 1, 2, 1))? };
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
    check(spec)?;
    let [dout, qkv, out, lse] = &[dout.contiguous()?, qkv.contiguous()?, out.contiguous()?, lse.contiguous()?];
    let (dtype, device, heads) = (qkv.dtype(), qkv.device(), spec.num_heads);
    let tokens = qkv.dims()[0];
    let delta = &delta(dout, out, spec)?;
    let tiles = tiles(starts, QUERIES);
    let placed = &words(&tiles, device)?;
    // SAFETY: the two kernels write the columns of queries, and those of keys and values, of all tokens.
    let mut dqkv = unsafe { Output::new(device, dtype, (tokens, spec.qkv_columns()))? };
    let kernels = [("attention_queries", heads, (2, 2, 1)), ("attention_keys", spec.num_kv_heads, (2, 2, 2))];
    for (kernel, heads, (of_queries, of_keys, weights)) in kernels {
        let call = Launch::new("attention", kernel, dtype).read(dout).read(qkv);
        let call = call.read_as(lse, DType::F32).read_as(delta, DType::F32).read_as(placed, DType::U32);
        let call = with_spec(call.write(&mut dqkv), spec);
        // SAFETY: as in the forward, and dout and lse are of its results' shapes.
        unsafe { call.run(grid(&tiles, heads, spec, of_queries, of_keys, weights))? };
    }
    Ok(dqkv.into_tensor())
}

/// `sum(dout * out)` of each token and head, `[tokens, heads]`.
fn delta(dout: &Tensor, out: &Tensor, spec: &AttentionSpec) -> Result<Tensor> {
    let (tokens, heads) = (out.dims()[0], spec.num_heads);
    // SAFETY: the kernel writes every row of a head.
    let mut delta = unsafe { Output::new(out.device(), DType::F32, (tokens, heads))? };
    let call = Launch::new("attention", "attention_delta", out.dtype()).read(dout).read(out).write(&mut delta);
    let rows = tokens * heads;
    // SAFETY: both have a row of head_dim columns for each token and head.
    unsafe { call.u32(rows as u32).int(spec.head_dim).run(Grid::line(rows.div_ceil(THREADS / 32), THREADS))? };
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
