//! Sums along a row, in one order.

use crate::simd::{LANES, Simd};

/// Up to a vector's worth of elements from `at` on.
#[inline(always)]
pub fn part(values: &mut [f32], at: usize) -> &mut [f32] {
    let end = values.len().min(at + LANES);
    &mut values[at..end]
}

/// 1 / sqrt(mean(x^2) + eps).
#[inline(always)]
pub fn inverse_rms<S: Simd>(s: S, x: &[f32], eps: f32) -> f32 {
    let squares = sum_of(
        s,
        x.len(),
        #[inline(always)]
        |at| {
            let x = s.load_part(&x[at..], 0.0);
            (x, x)
        },
    );
    1.0 / (squares / x.len() as f32 + eps).sqrt()
}

/// The two factors of a row's gradient `dx = scale * w * dy - back * x` of the root-mean-square
/// norm.
#[inline(always)]
pub fn rms_factors<S: Simd>(s: S, dy: &[f32], x: &[f32], w: &[f32], eps: f32) -> (f32, f32) {
    let scale = inverse_rms(s, x, eps);
    let along = sum_of(
        s,
        w.len(),
        #[inline(always)]
        |at| {
            let g = s.mul(s.load_part(&dy[at..], 0.0), s.load_part(&w[at..], 0.0));
            (g, s.load_part(&x[at..], 0.0))
        },
    );
    (scale, along * scale * scale * scale / w.len() as f32)
}

/// The sum of products of the pairs of vectors that `pair` gives for 0, 16, 32, …, in four
/// interleaved sums.
#[inline(always)]
pub fn sum_of<S: Simd>(s: S, len: usize, pair: impl Fn(usize) -> (S::V, S::V)) -> f32 {
    let mut sums = [s.splat(0.0); 4];
    let mut at = 0;
    while at + 4 * LANES <= len {
        for (i, sum) in sums.iter_mut().enumerate() {
            let (a, b) = pair(at + i * LANES);
            *sum = s.fma(a, b, *sum);
        }
        at += 4 * LANES;
    }
    while at < len {
        let (a, b) = pair(at);
        sums[0] = s.fma(a, b, sums[0]);
        at += LANES;
    }
    s.sum4(sums)
}
