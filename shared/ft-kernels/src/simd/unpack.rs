//! Vectors out of packed bytes.

use std::arch::x86_64::{
    __m256, __m256i, __m512, __m512i, _mm_loadl_epi64, _mm_loadu_si32, _mm_loadu_si128, _mm256_and_si256,
    _mm256_blendv_ps, _mm256_castsi256_ps, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32,
    _mm256_cvtepu8_epi64, _mm256_or_si256, _mm256_permutevar8x32_ps, _mm256_set1_epi32, _mm256_setr_epi32,
    _mm256_slli_epi32, _mm256_slli_epi64, _mm256_srli_epi64, _mm256_srlv_epi32, _mm512_and_si512, _mm512_cvtepi8_epi32,
    _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32, _mm512_cvtepu8_epi64, _mm512_or_si512, _mm512_permutexvar_ps,
    _mm512_set1_epi32, _mm512_setr_epi32, _mm512_slli_epi64, _mm512_srli_epi64, _mm512_srlv_epi32,
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

/// See [`super::Simd::load_codes`].
///
/// # Safety
/// As there; and the machine must have AVX-512.
#[inline(always)]
pub unsafe fn load_codes_avx512(from: *const u8) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast())) }
}

/// See [`super::Simd::bit_a_lane`].
///
/// # Safety
/// The machine must have AVX-512.
#[inline(always)]
pub unsafe fn bit_a_lane_avx512(bits: u32) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        _mm512_and_si512(_mm512_srlv_epi32(_mm512_set1_epi32(bits.cast_signed()), lanes), _mm512_set1_epi32(1))
    }
}

/// See [`super::Simd::load_codes`].
///
/// # Safety
/// As there; and the machine must have AVX2.
#[inline(always)]
pub unsafe fn load_codes_avx2(from: *const u8) -> [__m256i; 2] {
    // SAFETY: the caller's promise.
    let half = |from: *const u8| unsafe { _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast())) };
    // SAFETY: the caller's promise.
    [half(from), half(unsafe { from.add(8) })]
}

/// See [`super::Simd::bit_a_lane`].
///
/// # Safety
/// The machine must have AVX2.
#[inline(always)]
pub unsafe fn bit_a_lane_avx2(bits: u32) -> [__m256i; 2] {
    let half = |bits: u32| {
        // SAFETY: the caller's promise.
        unsafe {
            let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            _mm256_and_si256(_mm256_srlv_epi32(_mm256_set1_epi32(bits.cast_signed()), lanes), _mm256_set1_epi32(1))
        }
    };
    [half(bits), half(bits >> 8)]
}
