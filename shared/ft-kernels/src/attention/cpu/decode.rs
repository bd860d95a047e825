//! One new query for each of several sequences, against the keys and values kept of them.

use candle_core::Tensor;
use rayon::prelude::*;

use crate::attention::{AttentionSpec, KeyValue};
use crate::error::Result;
use crate::parallel::{Shared, with_scratch};
use crate::simd::{Isa, Kernel, LANES, Simd, TileProduct, dispatch};
use crate::tensor::{from_vec, unwritten, with_slice};
use crate::vector::{exp, tanh};

/// Keys and values below which one thread is faster.
const WORTH_SHARING: usize = 32 * 1024;

/// See [`crate::attention::attention_decode`].
pub fn attention_decode(isa: Isa, q: &Tensor, caches: &[KeyValue<'_>], spec: &AttentionSpec) -> Result<Tensor> {
    let columns = spec.query_columns();
    // SAFETY: the units below are all heads of all sequences, and the kernel writes each column of its own.
    let mut out = unsafe { unwritten(caches.len() * columns) };
    let shared = Shared::new(&mut out);
    with_slice(q, |q| {
        let unit = |unit: usize| {
            let (sequence, kv_head) = (unit / spec.num_kv_heads, unit % spec.num_kv_heads);
            let group = spec.group() * spec.head_dim;
            let place = sequence * columns + kv_head * group;
            // SAFETY: each unit has its own columns of its own row.
            let out = unsafe { shared.part(place, group) };
            dispatch(isa, Heads { spec, q: &q[place..][..group], cache: caches[sequence], kv_head, out });
        };
        let units = 0..caches.len() * spec.num_kv_heads;
        if caches.iter().map(|cache| cache.keys.len()).sum::<usize>() < WORTH_SHARING {
            units.for_each(unit);
        } else {
            units.into_par_iter().for_each(unit);
        }
    })?;
    Ok(from_vec(out, (caches.len(), columns))?)
}

/// The query heads of one sequence that share a key head.
struct Heads<'a> {
    spec: &'a AttentionSpec,
    q: &'a [f32],
    cache: KeyValue<'a>,
    kv_head: usize,
    out: &'a mut [f32],
}

impl Kernel for Heads<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (d, group, stride) = (self.spec.head_dim, self.spec.group(), self.spec.key_columns());
        let tokens = self.cache.tokens(self.spec);
        let first = self.spec.first_seen(tokens - 1);
        let seen = tokens - first;
        let width = seen.next_multiple_of(LANES);
        let padded = d.next_multiple_of(LANES);
        let whole = d % LANES == 0;
        let copied = if whole { 0 } else { seen * padded };
        let column = self.kv_head * d;
        let sizes = [group * width, group * padded, copied];
        with_scratch(
            sizes,
            #[inline(always)]
            |[scores, sums, copy]| {
                for i in 0..seen {
                    let key = &self.cache.keys[(first + i) * stride + column..][..d];
                    for (g, query) in self.q.chunks_exact(d).enumerate() {
                        scores[g * width + i] = dot(s, query, key) * self.spec.scale;
                    }
                }
                let mut values = &self.cache.values[first * stride + column..];
                if !whole {
                    for (i, row) in copy.chunks_exact_mut(padded).enumerate() {
                        row[..d].copy_from_slice(&values[i * stride..][..d]);
                        row[d..].fill(0.0);
                    }
                    values = copy;
                }
                for row in scores.chunks_exact_mut(width) {
                    softmax(s, row, seen, self.spec.softcap);
                }
                // SAFETY: there are `seen` rows of values, of `padded` columns each.
                unsafe {
                    s.product(&TileProduct {
                        rows: group,
                        inner: seen,
                        vectors: padded / LANES,
                        a: scores.as_ptr(),
                        a_row: width,
                        a_column: 1,
                        b: values.as_ptr(),
                        b_row: if whole { stride } else { padded },
                        c: sums.as_mut_ptr(),
                        c_row: padded,
                        accumulate: false,
                    });
                }
                for (out, sums) in self.out.chunks_exact_mut(d).zip(sums.chunks_exact(padded)) {
                    out.copy_from_slice(&sums[..d]);
                }
            },
        );
    }
}

#[inline(always)]
fn dot<S: Simd>(s: S, a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [s.splat(0.0); 4];
    for (a, b) in a.chunks(4 * LANES).zip(b.chunks(4 * LANES)) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.chunks(LANES).zip(b.chunks(LANES))) {
            *sum = s.fma(s.load_part(a, 0.0), s.load_part(b, 0.0), *sum);
        }
    }
    s.sum4(sums)
}

/// The softmax of the first `seen` of a row's scores, which has room for whole vectors.
#[inline(always)]
fn softmax<S: Simd>(s: S, row: &mut [f32], seen: usize, softcap: Option<f32>) {
    row[seen..].fill(f32::NEG_INFINITY);
    let mut most = s.splat(f32::NEG_INFINITY);
    for part in row.chunks_exact_mut(LANES) {
        let mut x = s.load_part(part, 0.0);
        if let Some(cap) = softcap {
            let t = tanh(s, s.mul(x, s.splat(1.0 / cap)));
            x = s.mul(t, s.splat(cap));
            s.store_part(part, x);
        }
        most = s.max(x, most);
    }
    if softcap.is_some() {
        // The cap has made something finite of the lanes that are no scores.
        row[seen..].fill(f32::NEG_INFINITY);
    }
    let shift = s.splat(s.max_lane(most));
    let mut sum = s.splat(0.0);
    for part in row.chunks_exact_mut(LANES) {
        let e = exp(s, s.sub(s.load_part(part, 0.0), shift));
        s.store_part(part, e);
        sum = s.add(sum, e);
    }
    let factor = s.splat(1.0 / s.sum(sum));
    for part in row.chunks_exact_mut(LANES) {
        let p = s.mul(s.load_part(part, 0.0), factor);
        s.store_part(part, p);
    }
}
