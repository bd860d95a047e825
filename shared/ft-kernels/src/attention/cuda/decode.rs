//! The kernels of `kernels/decode.cu`: attention of one query a sequence, split over its keys.

use candle_core::{DType, Tensor};

use crate::attention::AttentionSpec;
use crate::cuda::{Grid, Launch, Output, parts, words};
use crate::error::{Error, Result};

/// Keys of a block, a thread each, and columns of a head at most, as the kernels have them.
const KEYS: usize = 128;
const MOST_COLUMNS: usize = 256;

/// See [`crate::attention::attention_decode_placed`].
pub fn attention_decode(q: &Tensor, caches: &[(Tensor, Tensor)], spec: &AttentionSpec) -> Result<Tensor> {
    let (sequences, heads, d) = (caches.len(), spec.num_heads, spec.head_dim);
    if !(1..=MOST_COLUMNS).contains(&d) {
        return Err(Error::shape("attention_decode", "head_dim", format!("1 to {MOST_COLUMNS}"), d));
    }
    let (q, dtype, device) = (&q.contiguous()?, q.dtype(), q.device());
    let side = |of: &dyn Fn(&(Tensor, Tensor)) -> Tensor| -> Result<Vec<Tensor>> {
        caches.iter().map(|cache| Ok(of(cache).to_dtype(dtype)?.contiguous()?)).collect()
    };
    let (keys, values) = (side(&|cache| cache.0.clone())?, side(&|cache| cache.1.clone())?);
    let lengths = keys.iter().map(|keys| Ok(keys.dim(0)? as u32)).collect::<Result<Vec<_>>>()?;
    let most = parts(lengths.iter().max().map_or(0, |&length| length as usize), KEYS);
    let lengths = &words(&lengths, device)?;
    // SAFETY: the second kernel reads the parts alone that the first one writes: those with a key that is seen.
    let mut partial = unsafe { Output::new(device, DType::F32, (sequences, heads, most, d + 2))? };
    let call = Launch::new("decode", "attention_decode", dtype).read(q).list(&keys).list(&values);
    let call = with_spec(call.read_as(lengths, DType::U32).write(&mut partial), most, spec);
    // SAFETY: the operator has checked that keys and values are whole rows, and lengths are their numbers.
    unsafe { call.run(Grid { blocks: [most, heads, sequences], threads: KEYS, shared: 0 })? };
    let partial = &partial.into_tensor();
    // SAFETY: the kernel writes every column of every query.
    let mut out = unsafe { Output::new(device, dtype, (sequences, heads * d))? };
    let call = Launch::new("decode", "attention_decode_join", dtype).read_as(partial, DType::F32);
    let call = with_spec(call.read_as(lengths, DType::U32).write(&mut out), most, spec);
    // SAFETY: as above.
    unsafe { call.run(Grid::plane(heads, sequences, KEYS))? };
    Ok(out.into_tensor())
}

/// A kernel's last arguments; `most` is the number of parts of the longest sequence.
fn with_spec<'a>(call: Launch<'a>, most: usize, spec: &AttentionSpec) -> Launch<'a> {
    let call = call.int(most).int(spec.num_heads).int(spec.num_kv_heads).int(spec.head_dim).f32(spec.scale);
    call.int(spec.sliding_window.unwrap_or(0)).f32(spec.softcap.unwrap_or(0.0))
}
