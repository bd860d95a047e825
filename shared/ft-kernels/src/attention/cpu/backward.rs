//! The fused backward pass: each head's tiles of queries against the panels of keys they see.

use candle_core::Tensor;
use rayon::prelude::*;

use super::forward::product_on_diagonal;
use super::pack::{Layout, Packed, TILE};
use crate::attention::AttentionSpec;
use crate::error::Result;
use crate::parallel::{Shared, with_scratch};
use crate::simd::{Isa, Kernel, LANES, Simd, TileProduct, dispatch};
use crate::tensor::{from_vec, unwritten, with_slices};
use crate::vector::{exp, tanh};

/// Rows (or keys) of a diagonal panel that share one range of the others.
const STRIP: usize = 8;

/// See [`crate::attention::attention_backward`].
pub fn attention_backward(
    isa: Isa,
    dout: &Tensor,
    qkv: &Tensor,
    out: &Tensor,
    lse: &Tensor,
    spec: &AttentionSpec,
    starts: &[usize],
) -> Result<Tensor> {
    let tokens = qkv.dims()[0];
    let layout = Layout::new(spec, starts);
    // SAFETY: the units are all sequences and key heads; for each, the query heads of its group write their columns of
    // its rows, and `store_keys_and_values` those of keys and values.
    let mut dqkv = unsafe { unwritten(tokens * spec.qkv_columns()) };
    let shared = Shared::new(&mut dqkv);
    with_slices([dout, qkv, out, lse], |[dout, qkv, out, lse]| {
        let packed = [
            Packed::panels(qkv, layout, |head| layout.key_column(head)),
            Packed::panels(qkv, layout, |head| layout.value_column(head)),
            Packed::rows(qkv, layout, |head| layout.key_column(head)),
        ];
        layout.units().into_par_iter().for_each(|(sequence, kv_head)| {
            let [keys_t, values_t, keys] = packed.each_ref().map(|p| p.matrix(sequence, kv_head));
            let first = kv_head * spec.group();
            let heads: Vec<Vec<f32>> = (first..first + spec.group())
                .into_par_iter()
                .map(|head| {
                    let (dqkv, tokens) = (shared, layout.len(sequence));
                    let mut gradients = vec![0.0; 2 * tokens * layout.padded];
                    let (dk, dv) = gradients.split_at_mut(tokens * layout.padded);
                    dispatch(
                        isa,
                        QueryHead { layout, dout, qkv, out, lse, keys_t, values_t, keys, sequence, head, dqkv, dk, dv },
                    );
                    gradients
                })
                .collect();
            store_keys_and_values(layout, sequence, kv_head, &heads, shared);
        });
    })?;
    Ok(from_vec(dqkv, (tokens, spec.qkv_columns()))?)
}

/// Sums the gradients of the heads that share a key head, in the heads' order.
fn store_keys_and_values(layout: Layout, sequence: usize, kv_head: usize, heads: &[Vec<f32>], dqkv: Shared) {
    let (d, columns) = (layout.spec.head_dim, layout.spec.qkv_columns());
    let len = layout.len(sequence);
    for (side, column) in [layout.key_column(kv_head), layout.value_column(kv_head)].into_iter().enumerate() {
        for i in 0..len {
            let token = layout.starts[sequence] + i;
            // SAFETY: these are this sequence's rows and this head's columns.
            let to = unsafe { dqkv.part(token * columns + column, d) };
            let place = (side * len + i) * layout.padded;
            to.copy_from_slice(&heads[0][place..][..d]);
            for head in &heads[1..] {
                to.iter_mut().zip(&head[place..]).for_each(|(to, x)| *to += x);
            }
        }
    }
}

/// One query head of one sequence.
struct QueryHead<'a> {
    layout: Layout<'a>,
    dout: &'a [f32],
    qkv: &'a [f32],
    out: &'a [f32],
    lse: &'a [f32],
    keys_t: &'a [f32],
    values_t: &'a [f32],
    keys: &'a [f32],
    sequence: usize,
    head: usize,
    dqkv: Shared,
    dk: &'a mut [f32],
    dv: &'a mut [f32],
}

/// A tile of queries, and what belongs to its rows.
struct Tile<'a> {
    first: usize,
    rows: usize,
    /// Scaled queries `[rows, padded]`.
    queries: &'a mut [f32],
    /// The result's gradient `[rows, padded]`.
    dout: &'a mut [f32],
    /// The queries' gradient `[rows, padded]`.
    dq: &'a mut [f32],
    /// Each row's sum of `out * dout`.
    delta: [f32; TILE],
    lse: [f32; TILE],
}

impl Kernel for QueryHead<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let padded = self.layout.padded;
        let len = self.layout.len(self.sequence);
        let rows = TILE * padded;
        let square = TILE * TILE;
        with_scratch(
            [rows, rows, rows, square, square],
            #[inline(always)]
            |[queries, dout, dq, p, ds]| {
                for first in (0..len).step_by(TILE) {
                    let mut tile = Tile {
                        first,
                        rows: TILE.min(len - first),
                        queries: &mut *queries,
                        dout: &mut *dout,
                        dq: &mut *dq,
                        delta: [0.0; TILE],
                        lse: [0.0; TILE],
                    };
                    self.load(s, &mut tile);
                    let base = self.layout.spec.first_seen(first) / TILE;
                    for panel in base..=first / TILE {
                        self.probabilities(s, &tile, panel, p, ds);
                        // SAFETY: both squares are TILE by TILE and written, see below.
                        unsafe { self.accumulate(s, &mut tile, panel, len, p, ds) };
                    }
                    self.store(&tile);
                }
            },
        );
    }
}

impl QueryHead<'_> {
    /// Reads the tile's rows.
    #[inline(always)]
    fn load<S: Simd>(&self, s: S, tile: &mut Tile) {
        let Layout { spec, starts, padded, .. } = self.layout;
        let d = spec.head_dim;
        tile.dq.fill(0.0);
        for i in 0..tile.rows {
            let token = starts[self.sequence] + tile.first + i;
            let column = self.head * d;
            let query = &mut tile.queries[i * padded..][..padded];
            let from = &self.qkv[token * spec.qkv_columns() + column..][..d];
            query.iter_mut().zip(from).for_each(|(x, from)| *x = from * spec.scale);
            query[d..].fill(0.0);
            let dout = &mut tile.dout[i * padded..][..padded];
            dout[..d].copy_from_slice(&self.dout[token * spec.query_columns() + column..][..d]);
            dout[d..].fill(0.0);
            let out = &self.out[token * spec.query_columns() + column..][..d];
            let mut sum = s.splat(0.0);
            for (a, b) in out.chunks(LANES).zip(dout.chunks(LANES)) {
                sum = s.fma(s.load_part(a, 0.0), s.load_part(b, 0.0), sum);
            }
            tile.delta[i] = s.sum(sum);
            tile.lse[i] = self.lse[token * spec.num_heads + self.head];
        }
    }

    /// The tile's probabilities of a panel's keys, and the gradients of their scores.
    #[inline(always)]
    fn probabilities<S: Simd>(&self, s: S, tile: &Tile, panel: usize, p: &mut [f32], ds: &mut [f32]) {
        let Layout { spec, padded, .. } = self.layout;
        let d = spec.head_dim;
        let scores = TileProduct {
            rows: tile.rows,
            inner: d,
            vectors: TILE / LANES,
            a: tile.queries.as_ptr(),
            a_row: padded,
            a_column: 1,
            b: self.keys_t[panel * d * TILE..][..d * TILE].as_ptr(),
            b_row: TILE,
            c: p.as_mut_ptr(),
            c_row: TILE,
            accumulate: false,
        };
        let b = self.values_t[panel * d * TILE..][..d * TILE].as_ptr();
        let dp = TileProduct { a: tile.dout.as_ptr(), b, c: ds.as_mut_ptr(), ..scores };
        // SAFETY: a panel has d rows of TILE columns, and so have the squares.
        unsafe {
            if panel * TILE < tile.first {
                s.product(&scores);
                s.product(&dp);
            } else {
                product_on_diagonal(s, &scores);
                product_on_diagonal(s, &dp);
            }
        }
        for i in 0..tile.rows {
            let position = tile.first + i;
            // What the row sees of the panel.
            let low = spec.first_seen(position).saturating_sub(panel * TILE);
            let high = (position + 1 - panel * TILE).min(TILE);
            let p = &mut p[i * TILE..][..TILE];
            let ds = &mut ds[i * TILE..][..TILE];
            score_gradients(s, p, ds, tile.lse[i], tile.delta[i], spec.softcap);
            for row in [p, ds] {
                row[..low.min(TILE)].fill(0.0);
                row[high..].fill(0.0);
            }
        }
    }

    /// Adds what a panel gives to the gradients.
    ///
    /// # Safety
    /// `p` and `ds` must be `TILE` by `TILE`.
    #[inline(always)]
    unsafe fn accumulate<S: Simd>(&mut self, s: S, tile: &mut Tile, panel: usize, len: usize, p: &[f32], ds: &[f32]) {
        let padded = self.layout.padded;
        let first_key = panel * TILE;
        let keys = TILE.min(len - first_key);
        let place = first_key * padded;
        let d_values = TileProduct {
            rows: keys,
            inner: tile.rows,
            vectors: padded / LANES,
            a: p.as_ptr(),
            a_row: 1,
            a_column: TILE,
            b: tile.dout.as_ptr(),
            b_row: padded,
            c: self.dv[place..].as_mut_ptr(),
            c_row: padded,
            accumulate: true,
        };
        let d_keys =
            TileProduct { a: ds.as_ptr(), b: tile.queries.as_ptr(), c: self.dk[place..].as_mut_ptr(), ..d_values };
        let d_queries = TileProduct {
            rows: tile.rows,
            inner: keys,
            a: ds.as_ptr(),
            a_row: TILE,
            a_column: 1,
            b: self.keys[place..].as_ptr(),
            c: tile.dq.as_mut_ptr(),
            ..d_values
        };
        // SAFETY: the squares hold rows by keys, the other matrices as many padded rows.
        unsafe {
            if first_key < tile.first {
                s.product(&d_values);
                s.product(&d_keys);
                s.product(&d_queries);
            } else {
                for strip in (0..tile.rows).step_by(STRIP) {
                    // Keys from `strip` on are seen by the rows from `strip` on.
                    s.product(&later_rows(&d_values, strip));
                    s.product(&later_rows(&d_keys, strip));
                    // Rows before `strip + STRIP` see the keys before it.
                    let rows = STRIP.min(tile.rows - strip);
                    s.product(&TileProduct {
                        rows,
                        inner: strip + rows,
                        a: d_queries.a.add(strip * d_queries.a_row),
                        c: d_queries.c.add(strip * d_queries.c_row),
                        ..d_queries
                    });
                }
            }
        }
    }

    /// Writes the queries' gradient.
    #[inline(always)]
    fn store(&self, tile: &Tile) {
        let Layout { spec, starts, padded, .. } = self.layout;
        let d = spec.head_dim;
        for (i, dq) in tile.dq.chunks_exact(padded).take(tile.rows).enumerate() {
            let token = starts[self.sequence] + tile.first + i;
            // SAFETY: this head alone writes its columns of its sequence's rows.
            let to = unsafe { self.dqkv.part(token * spec.qkv_columns() + self.head * d, d) };
            to.iter_mut().zip(dq).for_each(|(to, x)| *to = x * spec.scale);
        }
    }
}

/// The part of a product over a diagonal square's columns for one strip of keys: the rows of the
/// square above the strip do not see them.
///
/// # Safety
/// The strip must lie inside the product.
#[inline(always)]
unsafe fn later_rows(product: &TileProduct, strip: usize) -> TileProduct {
    // SAFETY: the caller's promise.
    unsafe {
        TileProduct {
            rows: STRIP.min(product.rows - strip),
            inner: product.inner - strip,
            a: product.a.add(strip * product.a_row + strip * product.a_column),
            b: product.b.add(strip * product.b_row),
            c: product.c.add(strip * product.c_row),
            ..*product
        }
    }
}

/// Turns a row's scores in `p` into probabilities, and their gradients in `ds` into the scores'.
#[inline(always)]
fn score_gradients<S: Simd>(s: S, p: &mut [f32], ds: &mut [f32], lse: f32, delta: f32, softcap: Option<f32>) {
    let (lse, delta) = (s.splat(lse), s.splat(delta));
    for (p, ds) in p.chunks_exact_mut(LANES).zip(ds.chunks_exact_mut(LANES)) {
        let score = s.load_part(p, 0.0);
        let gradient = s.sub(s.load_part(ds, 0.0), delta);
        let (probability, gradient) = match softcap {
            None => {
                let probability = exp(s, s.sub(score, lse));
                (probability, s.mul(probability, gradient))
            }
            Some(cap) => {
                let t = tanh(s, s.mul(score, s.splat(1.0 / cap)));
                let probability = exp(s, s.sub(s.mul(t, s.splat(cap)), lse));
                let slope = s.fnma(t, t, s.splat(1.0));
                (probability, s.mul(s.mul(probability, gradient), slope))
            }
        };
        s.store_part(p, probability);
        s.store_part(ds, gradient);
    }
}
