//! The fused forward pass: tiles of queries against all the keys they see.

use candle_core::Tensor;
use rayon::prelude::*;

use super::pack::{Layout, Packed, TILE};
use crate::attention::AttentionSpec;
use crate::error::Result;
use crate::math::logf;
use crate::parallel::{Shared, with_scratch};
use crate::simd::{Isa, Kernel, LANES, Simd, TileProduct, dispatch};
use crate::tensor::{from_vec, unwritten, with_slice};
use crate::vector::{exp, tanh};

/// Rows whose sums over the keys have one range.
const STRIP: usize = 8;

/// See [`crate::attention::attention`].
pub fn attention(isa: Isa, qkv: &Tensor, spec: &AttentionSpec, starts: &[usize]) -> Result<(Tensor, Tensor)> {
    let tokens = qkv.dims()[0];
    let layout = Layout::new(spec, starts);
    // SAFETY: `tiles` are all rows of all key heads; with the heads of each group that is every column of `out` and of
    // `lse`, and the kernel writes those of its rows.
    let (mut out, mut lse) = unsafe { (unwritten(tokens * spec.query_columns()), unwritten(tokens * spec.num_heads)) };
    let (shared_out, shared_lse) = (Shared::new(&mut out), Shared::new(&mut lse));
    with_slice(qkv, |qkv| {
        let keys = Packed::panels(qkv, layout, |head| layout.key_column(head));
        let values = Packed::rows(qkv, layout, |head| layout.value_column(head));
        tiles(layout).into_par_iter().for_each(|(sequence, kv_head, first)| {
            let keys = keys.matrix(sequence, kv_head);
            let values = values.matrix(sequence, kv_head);
            let (out, lse) = (shared_out, shared_lse);
            let group = spec.group();
            for head in kv_head * group..(kv_head + 1) * group {
                dispatch(isa, Tile { layout, qkv, keys, values, sequence, head, first, out, lse });
            }
        });
    })?;
    let out = from_vec(out, (tokens, spec.query_columns()))?;
    Ok((out, from_vec(lse, (tokens, spec.num_heads))?))
}

/// Every tile, as sequence, key head and first query.
fn tiles(layout: Layout) -> Vec<(usize, usize, usize)> {
    let units = layout.units().into_iter();
    units
        .flat_map(|(sequence, head)| (0..layout.len(sequence)).step_by(TILE).map(move |first| (sequence, head, first)))
        .collect()
}

/// One tile of queries of one head.
struct Tile<'a> {
    layout: Layout<'a>,
    qkv: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    sequence: usize,
    head: usize,
    first: usize,
    out: Shared,
    lse: Shared,
}

impl Kernel for Tile<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Layout { spec, padded, .. } = self.layout;
        let rows = TILE.min(self.layout.len(self.sequence) - self.first);
        // The keys that any of the rows sees, from the start of a panel on.
        let base = spec.first_seen(self.first) / TILE * TILE;
        let width = self.first + TILE - base;
        let sizes = [TILE * spec.head_dim, TILE * width, TILE * padded];
        with_scratch(
            sizes,
            #[inline(always)]
            |[queries, scores, sums]| {
                self.load_queries(queries, rows);
                self.score(s, queries, scores, rows, base, width);
                for strip in (0..rows).step_by(STRIP) {
                    let count = STRIP.min(rows - strip);
                    let position = self.first + strip;
                    let low = spec.first_seen(position) - base;
                    let high = position + count - base;
                    let mut factors = [0f32; STRIP];
                    for i in 0..count {
                        let row = &mut scores[(strip + i) * width..][..width];
                        let seen = spec.first_seen(position + i) - base..position + i + 1 - base;
                        let (factor, lse) = softmax(s, row, seen, low..high, spec.softcap);
                        factors[i] = factor;
                        let token = self.layout.starts[self.sequence] + position + i;
                        // SAFETY: this tile alone writes its tokens' places of its head.
                        unsafe { *self.lse.at(token * spec.num_heads + self.head) = lse };
                    }
                    // SAFETY: the strip's rows have `high` scores, the values `base + high` rows.
                    unsafe {
                        s.product(&TileProduct {
                            rows: count,
                            inner: high - low,
                            vectors: padded / LANES,
                            a: scores.as_ptr().add(strip * width + low),
                            a_row: width,
                            a_column: 1,
                            b: self.values[(base + low) * padded..].as_ptr(),
                            b_row: padded,
                            c: sums.as_mut_ptr(),
                            c_row: padded,
                            accumulate: false,
                        });
                    }
                    self.store(sums, position, &factors[..count]);
                }
            },
        );
    }
}

impl Tile<'_> {
    /// The rows' queries, times the scale.
    #[inline(always)]
    fn load_queries(&self, queries: &mut [f32], rows: usize) {
        let Layout { spec, starts, .. } = self.layout;
        let (d, columns) = (spec.head_dim, spec.qkv_columns());
        for (i, query) in queries.chunks_exact_mut(d).take(rows).enumerate() {
            let token = starts[self.sequence] + self.first + i;
            let from = &self.qkv[token * columns + self.head * d..][..d];
            for (x, &from) in query.iter_mut().zip(from) {
                *x = from * spec.scale;
            }
        }
    }

    /// The products of queries and keys, but for what the diagonal panel hides by halves.
    #[inline(always)]
    fn score<S: Simd>(&self, s: S, queries: &[f32], scores: &mut [f32], rows: usize, base: usize, width: usize) {
        let d = self.layout.spec.head_dim;
        let full = TileProduct {
            rows,
            inner: d,
            vectors: TILE / LANES,
            a: queries.as_ptr(),
            a_row: d,
            a_column: 1,
            b: self.keys.as_ptr(),
            b_row: TILE,
            c: scores.as_mut_ptr(),
            c_row: width,
            accumulate: false,
        };
        for panel in base / TILE..=self.first / TILE {
            let b = self.keys[panel * d * TILE..][..d * TILE].as_ptr();
            let c = scores[panel * TILE - base..].as_mut_ptr();
            let product = TileProduct { b, c, ..full };
            // SAFETY: a panel has d rows of TILE columns, the scores' rows have `width`.
            unsafe {
                if panel * TILE < self.first {
                    s.product(&product);
                } else {
                    product_on_diagonal(s, &product);
                }
            }
        }
    }

    /// Writes a strip of results, each row times its factor.
    #[inline(always)]
    fn store(&self, sums: &[f32], position: usize, factors: &[f32]) {
        let Layout { spec, starts, padded, .. } = self.layout;
        let d = spec.head_dim;
        for (i, (&factor, sums)) in factors.iter().zip(sums.chunks_exact(padded)).enumerate() {
            let token = starts[self.sequence] + position + i;
            // SAFETY: this tile alone writes its tokens' columns of its head.
            let out = unsafe { self.out.part(token * spec.query_columns() + self.head * d, d) };
            for (out, &sum) in out.iter_mut().zip(sums) {
                *out = sum * factor;
            }
        }
    }
}

/// A product of a tile of rows and a panel of columns on the diagonal, where the first half of the
/// rows needs the first half of the columns only. The rest of C is left as it was.
///
/// # Safety
/// As [`TileProduct`] says.
#[inline(always)]
pub unsafe fn product_on_diagonal<S: Simd>(s: S, product: &TileProduct) {
    const HALF: usize = TILE / 2;
    // SAFETY: both parts lie inside the product.
    unsafe {
        s.product(&TileProduct { rows: product.rows.min(HALF), vectors: HALF / LANES, ..*product });
        if product.rows > HALF {
            s.product(&TileProduct {
                rows: product.rows - HALF,
                a: product.a.add(HALF * product.a_row),
                c: product.c.add(HALF * product.c_row),
                ..*product
            });
        }
    }
}

/// Replaces a row's scores by their exponentials, less the largest; zero in `zeroed` outside of
/// `seen`. Returns one over their sum, and the logarithm of the sum of the scores' exponentials.
#[inline(always)]
fn softmax<S: Simd>(
    s: S,
    row: &mut [f32],
    seen: std::ops::Range<usize>,
    zeroed: std::ops::Range<usize>,
    softcap: Option<f32>,
) -> (f32, f32) {
    // Whole vectors, with minus infinity in the lanes that are not seen.
    let (low, high) = (seen.start / LANES * LANES, seen.end.next_multiple_of(LANES));
    if let Some(cap) = softcap {
        for part in row[low..high].chunks_exact_mut(LANES) {
            let x = s.mul(s.load_part(part, 0.0), s.splat(1.0 / cap));
            s.store_part(part, s.mul(tanh(s, x), s.splat(cap)));
        }
    }
    row[low..seen.start].fill(f32::NEG_INFINITY);
    row[seen.end..high].fill(f32::NEG_INFINITY);
    let vectors = &mut row[low..high];
    let mut most = [s.splat(f32::NEG_INFINITY); 2];
    for pair in vectors.chunks(2 * LANES) {
        for (most, part) in most.iter_mut().zip(pair.chunks_exact(LANES)) {
            *most = s.max(s.load_part(part, 0.0), *most);
        }
    }
    let largest = s.max_lane(s.max(most[0], most[1]));
    let shift = s.splat(largest);
    let mut sums = [s.splat(0.0); 2];
    for pair in vectors.chunks_mut(2 * LANES) {
        for (sum, part) in sums.iter_mut().zip(pair.chunks_exact_mut(LANES)) {
            let e = exp(s, s.sub(s.load_part(part, 0.0), shift));
            s.store_part(part, e);
            *sum = s.add(*sum, e);
        }
    }
    let sum = s.sum(s.add(sums[0], sums[1]));
    if zeroed.start < low {
        row[zeroed.start..low].fill(0.0);
    }
    if high < zeroed.end {
        row[high..zeroed.end].fill(0.0);
    }
    (1.0 / sum, largest + logf(sum))
}
