//! The loops over a row of logits.

use super::shape::{AsTheyAre, Shape};
use crate::loss::LogitShape;
use crate::math::log;
use crate::simd::{Kernel, LANES, Simd};
use crate::vector::exp;

/// A row's loss.
pub struct Forward<'a, P> {
    pub row: &'a [f32],
    pub target: usize,
    pub shape: P,
}

impl<P: Shape> Kernel for Forward<'_, P> {
    type Output = (f32, bool);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (f32, bool) {
        let Self { row, target, shape } = self;
        let largest = largest(s, row, shape);
        let shift = s.splat(largest);
        let sum = sum_in_blocks(
            s,
            row.len(),
            #[inline(always)]
            |at| exp(s, s.sub(load(s, &row[at..], shape), shift)),
        );
        let (gap, correct) = standing(s, row, target, largest, shape);
        ((gap + log(sum)) as f32, correct)
    }
}

/// A row that becomes its gradient.
pub struct WithGradient<'a> {
    pub row: &'a mut [f32],
    pub target: usize,
    pub scale: f32,
}

impl Kernel for WithGradient<'_> {
    type Output = (f32, bool);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (f32, bool) {
        let Self { row, target, scale } = self;
        let largest = largest(s, row, AsTheyAre);
        let shift = s.splat(largest);
        let (gap, correct) = standing(s, row, target, largest, AsTheyAre);
        let place = row.as_mut_ptr();
        let len = row.len();
        let sum = sum_in_blocks(
            s,
            len,
            #[inline(always)]
            |at| {
                // SAFETY: `at` is below `len`, and no other reference to the row is in use.
                let part = unsafe { std::slice::from_raw_parts_mut(place.add(at), LANES.min(len - at)) };
                let e = exp(s, s.sub(s.load_part(part, f32::NEG_INFINITY), shift));
                s.store_part(part, e);
                e
            },
        );
        let factor = s.splat((f64::from(scale) / sum) as f32);
        for part in row.chunks_mut(LANES) {
            let p = s.mul(s.load_part(part, 0.0), factor);
            s.store_part(part, p);
        }
        row[target] -= scale;
        ((gap + log(sum)) as f32, correct)
    }
}

/// [`WithGradient`] of shaped logits: the exponentials are computed twice instead of kept, as the
/// shape's slope needs the shaped logits.
pub struct ShapedGradient<'a> {
    pub row: &'a mut [f32],
    pub target: usize,
    pub scale: f32,
    pub shape: LogitShape,
}

impl Kernel for ShapedGradient<'_> {
    type Output = (f32, bool);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (f32, bool) {
        let Self { row, target, scale, shape } = self;
        for part in row.chunks_mut(LANES) {
            let shaped = shape.apply(s, s.load_part(part, 0.0));
            s.store_part(part, shaped);
        }
        let largest = largest(s, row, AsTheyAre);
        let shift = s.splat(largest);
        let (gap, correct) = standing(s, row, target, largest, AsTheyAre);
        let sum = sum_in_blocks(
            s,
            row.len(),
            #[inline(always)]
            |at| exp(s, s.sub(s.load_part(&row[at..], f32::NEG_INFINITY), shift)),
        );
        let factor = s.splat((f64::from(scale) / sum) as f32);
        let own = row[target];
        for part in row.chunks_mut(LANES) {
            let shaped = s.load_part(part, 0.0);
            let p = s.mul(exp(s, s.sub(shaped, shift)), factor);
            s.store_part(part, s.mul(p, shape.slope(s, shaped)));
        }
        let mut slope = [0.0];
        s.store_part(&mut slope, shape.slope(s, s.splat(own)));
        row[target] -= scale * slope[0];
        ((gap + log(sum)) as f32, correct)
    }
}

/// How far the target's logit lies below the largest, and whether it is the first of those.
#[inline(always)]
fn standing<S: Simd>(s: S, row: &[f32], target: usize, most: f32, shape: impl Shape) -> (f64, bool) {
    let mut own = [0.0];
    s.store_part(&mut own, shape.apply(s, s.splat(row[target])));
    let correct = own[0] >= most && largest(s, &row[..target], shape) < most;
    (f64::from(most) - f64::from(own[0]), correct)
}

/// Shaped logits from the front of a slice, minus infinity in the lanes past its end.
#[inline(always)]
fn load<S: Simd>(s: S, from: &[f32], shape: impl Shape) -> S::V {
    let shaped = shape.apply(s, s.load_part(from, f32::NEG_INFINITY));
    if from.len() >= LANES {
        return shaped;
    }
    // A bound would have made something finite of minus infinity.
    let mut lanes = [f32::NEG_INFINITY; LANES];
    s.store_part(&mut lanes[..from.len()], shaped);
    s.load_part(&lanes, 0.0)
}

#[inline(always)]
fn largest<S: Simd>(s: S, row: &[f32], shape: impl Shape) -> f32 {
    let mut most = [s.splat(f32::NEG_INFINITY); 4];
    for block in row.chunks(4 * LANES) {
        for (most, part) in most.iter_mut().zip(block.chunks(LANES)) {
            *most = s.max(load(s, part, shape), *most);
        }
    }
    s.max_lane(s.max(s.max(most[0], most[1]), s.max(most[2], most[3])))
}

/// The sum of the vectors that `value` gives for 0, 16, 32, … below `len`: in `f32` over blocks of
/// 4096 elements, the blocks in `f64`.
#[inline(always)]
fn sum_in_blocks<S: Simd>(s: S, len: usize, value: impl Fn(usize) -> S::V) -> f64 {
    const BLOCK: usize = 4096;
    let mut total = 0f64;
    for start in (0..len).step_by(BLOCK) {
        let end = len.min(start + BLOCK);
        let mut sums = [s.splat(0.0); 4];
        let mut at = start;
        while at + 4 * LANES <= end {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = s.add(*sum, value(at + i * LANES));
            }
            at += 4 * LANES;
        }
        while at < end {
            sums[0] = s.add(sums[0], value(at));
            at += LANES;
        }
        total += f64::from(s.sum4(sums));
    }
    total
}
