//! The sums of the lanes of sixteen vectors at once: the same additions as one after the other, in a
//! third of the instructions.

use std::arch::x86_64::{
    __m256, __m512, _mm256_add_ps, _mm256_castpd_ps, _mm256_castps_pd, _mm256_loadu_ps, _mm256_permute2f128_ps,
    _mm256_shuffle_ps, _mm256_storeu_ps, _mm256_unpackhi_pd, _mm256_unpacklo_pd, _mm512_add_ps, _mm512_castpd_ps,
    _mm512_castps_pd, _mm512_loadu_ps, _mm512_shuffle_f32x4, _mm512_shuffle_ps, _mm512_storeu_ps, _mm512_unpackhi_pd,
    _mm512_unpacklo_pd,
};

use super::vectors::LANES;

/// See [`super::Simd::sum_each`].
///
/// # Safety
/// As there; and the machine must have AVX-512.
// Not inlined: the compiler would otherwise keep the vectors in registers between the loop that makes
// them and this, and run out of them in the loop.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512dq,avx2,fma")]
pub unsafe fn sum_each_avx512(from: *const f32, to: *mut f32) {
    // Position 4p + q ends in lane 4q + p, so vector 4q + p goes to position 4p + q.
    // SAFETY: the caller's promise.
    let v: [__m512; 16] = std::array::from_fn(|i| unsafe { _mm512_loadu_ps(from.add((i % 4 * 4 + i / 4) * LANES)) });
    let eight: [__m512; 8] = std::array::from_fn(|i| {
        let (a, b) = (v[2 * i], v[2 * i + 1]);
        _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xEE>(a, b))
    });
    let four: [__m512; 4] = std::array::from_fn(|i| {
        let (a, b) = (eight[2 * i], eight[2 * i + 1]);
        _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xDD>(a, b))
    });
    let two: [__m512; 2] = std::array::from_fn(|i| {
        let (a, b) = (_mm512_castps_pd(four[2 * i]), _mm512_castps_pd(four[2 * i + 1]));
        _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)))
    });
    let [a, b] = two;
    let one = _mm512_add_ps(_mm512_shuffle_ps::<0x88>(a, b), _mm512_shuffle_ps::<0xDD>(a, b));
    // SAFETY: the caller's promise.
    unsafe { _mm512_storeu_ps(to, one) };
}

/// See [`super::Simd::sum_each`].
///
/// # Safety
/// As there; and the machine must have AVX2.
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
pub unsafe fn sum_each_avx2(from: *const f32, to: *mut f32) {
    for half in 0..2 {
        // Position 4p + 2r + q, with q and r below 2, ends in lane 4q + 2p + r.
        let v: [__m256; 8] = std::array::from_fn(|i| {
            let vector = half * 8 + i % 2 * 4 + i / 4 * 2 + i / 2 % 2;
            // SAFETY: the caller's promise.
            unsafe {
                let at = from.add(vector * LANES);
                _mm256_add_ps(_mm256_loadu_ps(at), _mm256_loadu_ps(at.add(8)))
            }
        });
        let four: [__m256; 4] = std::array::from_fn(|i| {
            let (a, b) = (v[2 * i], v[2 * i + 1]);
            _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b))
        });
        let two: [__m256; 2] = std::array::from_fn(|i| {
            let (a, b) = (_mm256_castps_pd(four[2 * i]), _mm256_castps_pd(four[2 * i + 1]));
            _mm256_add_ps(_mm256_castpd_ps(_mm256_unpacklo_pd(a, b)), _mm256_castpd_ps(_mm256_unpackhi_pd(a, b)))
        });
        let [a, b] = two;
        let one = _mm256_add_ps(_mm256_shuffle_ps::<0x88>(a, b), _mm256_shuffle_ps::<0xDD>(a, b));
        // SAFETY: the caller's promise.
        unsafe { _mm256_storeu_ps(to.add(half * 8), one) };
    }
}

#[cfg(test)]
mod tests {
    use crate::simd::testing::same_on_every_isa;
    use crate::simd::{Isa, Kernel, LANES, Simd, dispatch};

    /// The sums at once and one after the other.
    struct Both<'a>(&'a [f32; LANES * LANES]);

    impl Kernel for Both<'_> {
        type Output = [[f32; LANES]; 2];

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            let mut at_once = [0.0; LANES];
            // SAFETY: there are 16 vectors, and room for 16 sums.
            unsafe { s.sum_each(self.0.as_ptr(), at_once.as_mut_ptr()) };
            let one = |i: usize| s.sum(s.load_part(&self.0[i * LANES..], 0.0));
            [at_once, std::array::from_fn(one)]
        }
    }

    #[test]
    fn sums_at_once_have_the_bits_of_one_after_the_other() {
        let values = std::array::from_fn(|i| ((i * 7919 + 13) % 1009) as f32 / 101.0 - 4.7);
        let [at_once, one] = dispatch(Isa::best(), Both(&values));
        assert_eq!(at_once, one);
        assert!(same_on_every_isa(|isa| {
            let [at_once, one] = dispatch(isa, Both(&values));
            assert_eq!(at_once, one);
            at_once
        }));
    }
}
