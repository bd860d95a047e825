//! Keys and values in the order in which the inner loops read them.

use rayon::prelude::*;

use crate::attention::AttentionSpec;
use crate::parallel::Shared;
use crate::simd::LANES;
use crate::tensor::unwritten;

/// Queries of a tile, and keys of a panel. A sequence's tiles and panels start at its own start,
/// so that its results do not depend on where it stands.
pub const TILE: usize = 32;

/// Where the parts of `qkv` lie, and those of what is packed from it.
#[derive(Clone, Copy)]
pub struct Layout<'a> {
    pub spec: &'a AttentionSpec,
    pub starts: &'a [usize],
    /// Columns of a head, rounded up to whole vectors.
    pub padded: usize,
}

impl<'a> Layout<'a> {
    pub fn new(spec: &'a AttentionSpec, starts: &'a [usize]) -> Self {
        Self { spec, starts, padded: spec.head_dim.next_multiple_of(LANES) }
    }

    /// The number of tokens of a sequence.
    pub fn len(&self, sequence: usize) -> usize {
        self.starts[sequence + 1] - self.starts[sequence]
    }

    /// Every sequence with every key head.
    pub fn units(&self) -> Vec<(usize, usize)> {
        let sequences = 0..self.starts.len() - 1;
        let full = sequences.filter(|&sequence| self.len(sequence) > 0);
        full.flat_map(|sequence| (0..self.spec.num_kv_heads).map(move |head| (sequence, head))).collect()
    }

    /// The first column of a key head in `qkv`.
    pub fn key_column(&self, kv_head: usize) -> usize {
        self.spec.query_columns() + kv_head * self.spec.head_dim
    }

    /// The first column of a value head in `qkv`.
    pub fn value_column(&self, kv_head: usize) -> usize {
        self.key_column(kv_head) + self.spec.key_columns()
    }
}

/// One matrix for each sequence and key head, in one buffer.
pub struct Packed {
    values: Vec<f32>,
    /// Where each sequence's first matrix starts, and the size of each of its matrices.
    places: Vec<(usize, usize)>,
}

impl Packed {
    /// The matrix of a sequence and key head.
    pub fn matrix(&self, sequence: usize, kv_head: usize) -> &[f32] {
        let (start, size) = self.places[sequence];
        &self.values[start + kv_head * size..][..size]
    }

    /// Heads transposed into panels of [`TILE`] tokens: `[panels, head_dim, TILE]`, zeros after the
    /// sequence's last token. `column` tells where a head starts.
    pub fn panels(qkv: &[f32], layout: Layout, column: impl Fn(usize) -> usize + Sync) -> Self {
        let (d, columns) = (layout.spec.head_dim, layout.spec.qkv_columns());
        Self::build(
            layout,
            |len| len.div_ceil(TILE) * d * TILE,
            |start, len, head, out| {
                for (panel, out) in out.chunks_exact_mut(d * TILE).enumerate() {
                    let first = panel * TILE;
                    let count = TILE.min(len - first);
                    let from = &qkv[(start + first) * columns + column(head)..];
                    for (c, out) in out.chunks_exact_mut(TILE).enumerate() {
                        let (tokens, beyond) = out.split_at_mut(count);
                        for (token, x) in tokens.iter_mut().enumerate() {
                            *x = from[token * columns + c];
                        }
                        beyond.fill(0.0);
                    }
                }
            },
        )
    }

    /// Heads as they are, `[tokens, padded]`, zeros after the head's last column.
    pub fn rows(qkv: &[f32], layout: Layout, column: impl Fn(usize) -> usize + Sync) -> Self {
        let (d, columns) = (layout.spec.head_dim, layout.spec.qkv_columns());
        Self::build(
            layout,
            |len| len * layout.padded,
            |start, _, head, out| {
                for (token, row) in out.chunks_exact_mut(layout.padded).enumerate() {
                    let from = &qkv[(start + token) * columns + column(head)..][..d];
                    row[..d].copy_from_slice(from);
                    row[d..].fill(0.0);
                }
            },
        )
    }

    /// `fill(first token, tokens, key head, matrix)` writes each matrix, of `size(tokens)` elements.
    fn build(
        layout: Layout,
        size: impl Fn(usize) -> usize,
        fill: impl Fn(usize, usize, usize, &mut [f32]) + Sync,
    ) -> Self {
        let mut places = Vec::with_capacity(layout.starts.len());
        let mut total = 0;
        for sequence in 0..layout.starts.len() - 1 {
            let size = size(layout.len(sequence));
            places.push((total, size));
            total += size * layout.spec.num_kv_heads;
        }
        // SAFETY: the units are all the matrices, and `fill` writes the whole of each.
        let mut values = unsafe { unwritten(total) };
        let shared = Shared::new(&mut values);
        layout.units().into_par_iter().for_each(|(sequence, head)| {
            let (place, size) = places[sequence];
            // SAFETY: the matrices lie inside the buffer, side by side.
            let matrix = unsafe { shared.part(place + head * size, size) };
            fill(layout.starts[sequence], layout.len(sequence), head, matrix);
        });
        Self { values, places }
    }
}
