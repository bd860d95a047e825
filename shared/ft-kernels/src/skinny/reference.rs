//! The same, one element after the other.

use crate::simd::LANES;

/// See [`super::skinny`], with `weights` widened already. The same bits.
pub fn skinny(x: &[f32], weights: &[f32], k: usize) -> Vec<f32> {
    let element = |x: &[f32], w: &[f32]| {
        let mut lanes = [0f32; LANES];
        for (i, (x, w)) in x.iter().zip(w).enumerate() {
            lanes[i % LANES] = x.mul_add(*w, lanes[i % LANES]);
        }
        let mut half = LANES / 2;
        while half > 0 {
            for l in 0..half {
                lanes[l] += lanes[l + half];
            }
            half /= 2;
        }
        lanes[0]
    };
    x.chunks(k).flat_map(|x| weights.chunks(k).map(move |w| element(x, w))).collect()
}
