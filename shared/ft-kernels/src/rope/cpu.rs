//! Rotations in place, on the CPU.

use candle_core::Tensor;

use super::{Direction, RopeTables};
use crate::error::Result;
use crate::parallel::for_row_blocks;
use crate::simd::{Isa, Kernel, LANES, Simd, dispatch};
use crate::tensor::with_slice_mut;

/// See [`super::rope`]; `x` has `columns` columns.
pub fn rope(
    isa: Isa,
    x: Tensor,
    columns: usize,
    tables: &RopeTables,
    heads: usize,
    head_dim: usize,
    direction: Direction,
) -> Result<Tensor> {
    with_slice_mut(&x, |values| rope_slice(isa, values, columns, tables, heads, head_dim, direction))?;
    Ok(x)
}

/// [`rope`] on a slice of rows of `columns` elements.
///
/// # Panics
/// If the slice has not `tables.rows()` rows, or a row not the heads' columns.
fn rope_slice(
    isa: Isa,
    values: &mut [f32],
    columns: usize,
    tables: &RopeTables,
    heads: usize,
    head_dim: usize,
    direction: Direction,
) {
    assert_eq!(values.len(), tables.rows * columns, "one row a position");
    assert!(heads * head_dim <= columns && 2 * tables.half <= head_dim);
    for_row_blocks(values, columns, |first, values| {
        dispatch(
            isa,
            Rotate {
                values,
                columns,
                cos: &tables.cos[first * tables.half..],
                sin: &tables.sin[first * tables.half..],
                half: tables.half,
                pairs: tables.pairs,
                heads,
                head_dim,
                sign: if direction == Direction::Forward { 1.0 } else { -1.0 },
            },
        );
    });
}

struct Rotate<'a> {
    values: &'a mut [f32],
    columns: usize,
    cos: &'a [f32],
    sin: &'a [f32],
    half: usize,
    pairs: bool,
    heads: usize,
    head_dim: usize,
    sign: f32,
}

/// What [`Rotate`] does with one head.
#[inline(always)]
fn turn_halves<S: Simd>(s: S, head: &mut [f32], cos: &[f32], sin: &[f32], sign: S::V) {
    let half = cos.len();
    let (a, b) = head.split_at_mut(half);
    let pairs = a.chunks_mut(LANES).zip(b[..half].chunks_mut(LANES));
    let angles = cos.chunks(LANES).zip(sin.chunks(LANES));
    for ((a, b), (cos, sin)) in pairs.zip(angles) {
        let (x, y) = (s.load_part(a, 0.0), s.load_part(b, 0.0));
        let cos = s.load_part(cos, 0.0);
        let sin = s.mul(s.load_part(sin, 0.0), sign);
        s.store_part(a, s.fnma(y, sin, s.mul(x, cos)));
        s.store_part(b, s.fma(x, sin, s.mul(y, cos)));
    }
}

/// What [`Rotate`] does with one head whose neighbours turn together: they are laid out as two halves, turned, and laid
/// back, so the arithmetic is the same.
#[inline(always)]
fn turn_pairs<S: Simd>(s: S, head: &mut [f32], cos: &[f32], sin: &[f32], sign: S::V) {
    let parts = head[..2 * cos.len()].chunks_mut(2 * LANES);
    for (part, (cos, sin)) in parts.zip(cos.chunks(LANES).zip(sin.chunks(LANES))) {
        let mut apart = [0.0; 2 * LANES];
        let count = cos.len();
        for (i, pair) in part.chunks_exact(2).enumerate() {
            (apart[i], apart[count + i]) = (pair[0], pair[1]);
        }
        turn_halves(s, &mut apart[..2 * count], cos, sin, sign);
        for (i, pair) in part.chunks_exact_mut(2).enumerate() {
            (pair[0], pair[1]) = (apart[i], apart[count + i]);
        }
    }
}

impl Kernel for Rotate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let sign = s.splat(self.sign);
        for (i, row) in self.values.chunks_exact_mut(self.columns).enumerate() {
            let cos = &self.cos[i * self.half..][..self.half];
            let sin = &self.sin[i * self.half..][..self.half];
            for head in row.chunks_exact_mut(self.head_dim).take(self.heads) {
                if self.pairs {
                    turn_pairs(s, head, cos, sin, sign);
                } else {
                    turn_halves(s, head, cos, sin, sign);
                }
            }
        }
    }
}
