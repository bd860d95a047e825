//! Vectors out of packed bytes.

use std::arch::x86_64::{
    __m256, __m512, _mm_loadl_epi64, _mm_loadu_si32, _mm_loadu_si128, _mm256_blendv_ps, _mm256_castsi256_ps,
    _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi64, _mm256_or_si256, _mm256_permutevar8x32_ps,
    _mm256_slli_epi32, _mm256_slli_epi64, _mm256_srli_epi64, _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps,
    _mm512_cvtepu8_epi64, _mm512_or_si512, _mm512_permutexvar_ps, _mm512_slli_epi64, _mm512_srli_epi64,
};

/// See [`super::Simd::look_up`].
///
/// # Safety
/// As there; and the machine must have AVX-512.
#[inline(always)]
pub unsafe fn look_up_avx512(table: __m512, from: *const u8) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        // A byte becomes two lanes: its upper half, and the byte itself, of which the permutation
        // reads the lower half alone.
        let bytes = _mm512_cvtepu8_epi64(_mm_loadl_epi64(from.cast()));
        let indices = _mm512_or_si512(_mm512_slli_epi64::<32>(bytes), _mm512_srli_epi64::<4>(bytes));
        _mm512_permutexvar_ps(indices, table)
    }
}

/// See [`super::Simd::load_bytes`].
///
/// # Safety
/// As there; and the machine must have AVX-512.
#[inline(always)]
pub unsafe fn load_bytes_avx512(from: *const i8) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))) }
}

/// See [`super::Simd::look_up`].
///
/// # Safety
/// As there; and the machine must have AVX2.
#[inline(always)]
pub unsafe fn look_up_avx2(table: [__m256; 2], from: *const u8) -> [__m256; 2] {
    let half = |from: *const u8| {
        // SAFETY: the caller's promise.
        unsafe {
            let bytes = _mm256_cvtepu8_epi64(_mm_loadu_si32(from));
            let indices = _mm256_or_si256(_mm256_slli_epi64::<32>(bytes), _mm256_srli_epi64::<4>(bytes));
            // The permutation reads three bits; the fourth, as a sign, chooses the table's half.
            let fourth = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(indices));
            let (low, high) =
                (_mm256_permutevar8x32_ps(table[0], indices), _mm256_permutevar8x32_ps(table[1], indices));
            _mm256_blendv_ps(low, high, fourth)
        }
    };
    // SAFETY: the caller's promise.
    [half(from), half(unsafe { from.add(4) })]
}

/// See [`super::Simd::load_bytes`].
///
/// # Safety
/// As there; and the machine must have AVX2.
#[inline(always)]
pub unsafe fn load_bytes_avx2(from: *const i8) -> [__m256; 2] {
    // SAFETY: the caller's promise.
    let half = |from: *const i8| unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast()))) };
    // SAFETY: the caller's promise.
    [half(from), half(unsafe { from.add(8) })]
}
