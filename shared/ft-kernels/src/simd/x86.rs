//! AVX-512 and AVX2 with FMA.

use std::arch::x86_64::{
    __m256, __m256i, __m512, __m512i, _CMP_LT_OQ, _mm_add_ps, _mm_add_ss, _mm_cvtsi32_si128, _mm_cvtss_f32, _mm_max_ps,
    _mm_max_ss, _mm_movehl_ps, _mm_shuffle_ps, _mm256_add_epi32, _mm256_add_ps, _mm256_and_si256, _mm256_blendv_ps,
    _mm256_castps_si256, _mm256_castps256_ps128, _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_cvtepi32_ps, _mm256_div_ps,
    _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_fnmadd_ps, _mm256_loadu_ps, _mm256_max_ps, _mm256_mul_ps,
    _mm256_or_si256, _mm256_set1_epi32, _mm256_set1_ps, _mm256_sll_epi32, _mm256_slli_epi32, _mm256_sqrt_ps,
    _mm256_srl_epi32, _mm256_storeu_ps, _mm256_sub_ps, _mm512_add_epi32, _mm512_add_ps, _mm512_and_si512,
    _mm512_castps_si512, _mm512_castps512_ps256, _mm512_castsi512_ps, _mm512_cmp_ps_mask, _mm512_cvtepi32_ps,
    _mm512_div_ps, _mm512_extractf32x8_ps, _mm512_fmadd_ps, _mm512_fnmadd_ps, _mm512_loadu_ps, _mm512_mask_blend_ps,
    _mm512_max_ps, _mm512_mul_ps, _mm512_or_si512, _mm512_set1_epi32, _mm512_set1_ps, _mm512_sll_epi32,
    _mm512_slli_epi32, _mm512_sqrt_ps, _mm512_srl_epi32, _mm512_storeu_ps, _mm512_sub_ps,
};

use super::vectors::{Kernel, Simd, TileProduct};

/// Runs a kernel with AVX-512.
///
/// # Safety
/// The machine must have it.
#[target_feature(enable = "avx512f,avx512dq,avx2,fma")]
pub unsafe fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512(()))
}

/// Runs a kernel with AVX2 and FMA.
///
/// # Safety
/// The machine must have them.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2(()))
}

#[target_feature(enable = "avx512f,avx512dq,avx2,fma")]
unsafe fn product_avx512(simd: Avx512, product: &TileProduct) {
    // SAFETY: the caller's promise.
    unsafe { product.run::<Avx512, 8, 2>(simd) }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn product_avx2(simd: Avx2, product: &TileProduct) {
    // SAFETY: the caller's promise.
    unsafe { product.run::<Avx2, 4, 1>(simd) }
}

/// Proof of AVX-512.
#[derive(Clone, Copy)]
pub struct Avx512(());

/// Proof of AVX2 and FMA.
#[derive(Clone, Copy)]
pub struct Avx2(());

/// Folds the lanes of half a vector onto each other: 8, 4, 2, 1.
macro_rules! fold8 {
    ($v:expr, $packed:ident, $single:ident) => {{
        let four = $packed(_mm256_castps256_ps128($v), _mm256_extractf128_ps::<1>($v));
        let two = $packed(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32($single(two, _mm_shuffle_ps::<1>(two, two)))
    }};
}

// SAFETY, for every block below: a value of the type proves that the machine has the instructions,
// and the pointers are the caller's promise.
impl Simd for Avx512 {
    type V = __m512;
    type I = __m512i;
    const REGISTERS: usize = 32;

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: __m512) {
        unsafe { _mm512_storeu_ps(to, v) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    fn sqrt(self, a: __m512) -> __m512 {
        unsafe { _mm512_sqrt_ps(a) }
    }

    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn fnma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fnmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn select_lt(self, a: __m512, b: __m512, yes: __m512, no: __m512) -> __m512 {
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), no, yes) }
    }

    #[inline(always)]
    fn pow2_shifted(self, n: __m512) -> __m512 {
        unsafe {
            let exponent = _mm512_slli_epi32::<23>(_mm512_castps_si512(n));
            _mm512_castsi512_ps(_mm512_add_epi32(exponent, _mm512_set1_epi32(0x3f80_0000)))
        }
    }

    #[inline(always)]
    fn sum(self, v: __m512) -> f32 {
        unsafe {
            let eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v));
            fold8!(eight, _mm_add_ps, _mm_add_ss)
        }
    }

    #[inline(always)]
    unsafe fn look_up(self, table: __m512, from: *const u8) -> __m512 {
        unsafe { super::unpack::look_up_avx512(table, from) }
    }

    #[inline(always)]
    unsafe fn load_bytes(self, from: *const i8) -> __m512 {
        unsafe { super::unpack::load_bytes_avx512(from) }
    }

    #[inline(always)]
    unsafe fn load_codes(self, from: *const u8) -> __m512i {
        unsafe { super::unpack::load_codes_avx512(from) }
    }

    #[inline(always)]
    fn bit_a_lane(self, bits: u32) -> __m512i {
        unsafe { super::unpack::bit_a_lane_avx512(bits) }
    }

    #[inline(always)]
    fn lower(self, a: __m512i, by: u32) -> __m512i {
        unsafe { _mm512_srl_epi32(a, _mm_cvtsi32_si128(by.cast_signed())) }
    }

    #[inline(always)]
    fn higher(self, a: __m512i, by: u32) -> __m512i {
        unsafe { _mm512_sll_epi32(a, _mm_cvtsi32_si128(by.cast_signed())) }
    }

    #[inline(always)]
    fn masked(self, a: __m512i, mask: u32) -> __m512i {
        unsafe { _mm512_and_si512(a, _mm512_set1_epi32(mask.cast_signed())) }
    }

    #[inline(always)]
    fn joined(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_or_si512(a, b) }
    }

    #[inline(always)]
    fn to_floats(self, a: __m512i) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(a) }
    }

    #[inline(always)]
    fn max_lane(self, v: __m512) -> f32 {
        unsafe {
            let eight = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v));
            fold8!(eight, _mm_max_ps, _mm_max_ss)
        }
    }

    #[inline(always)]
    unsafe fn product(self, product: &TileProduct) {
        unsafe { product_avx512(self, product) }
    }

    #[inline(always)]
    unsafe fn sum_each(self, from: *const f32, to: *mut f32) {
        unsafe { super::sums::sum_each_avx512(from, to) }
    }
}

/// Sixteen lanes in two registers.
type Two = [__m256; 2];

/// Applies an instruction to both registers.
macro_rules! both {
    ($f:ident($($v:ident),+)) => {
        unsafe { [$f($($v[0]),+), $f($($v[1]),+)] }
    };
}

// SAFETY, for every block below: as above.
impl Simd for Avx2 {
    type V = Two;
    type I = [__m256i; 2];
    const REGISTERS: usize = 8;

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Two {
        unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: Two) {
        unsafe {
            _mm256_storeu_ps(to, v[0]);
            _mm256_storeu_ps(to.add(8), v[1]);
        }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Two {
        unsafe { [_mm256_set1_ps(x); 2] }
    }

    #[inline(always)]
    fn add(self, a: Two, b: Two) -> Two {
        both!(_mm256_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: Two, b: Two) -> Two {
        both!(_mm256_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: Two, b: Two) -> Two {
        both!(_mm256_mul_ps(a, b))
    }

    #[inline(always)]
    fn div(self, a: Two, b: Two) -> Two {
        both!(_mm256_div_ps(a, b))
    }

    #[inline(always)]
    fn sqrt(self, a: Two) -> Two {
        both!(_mm256_sqrt_ps(a))
    }

    #[inline(always)]
    fn fma(self, a: Two, b: Two, c: Two) -> Two {
        both!(_mm256_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn fnma(self, a: Two, b: Two, c: Two) -> Two {
        both!(_mm256_fnmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn max(self, a: Two, b: Two) -> Two {
        both!(_mm256_max_ps(a, b))
    }

    #[inline(always)]
    fn select_lt(self, a: Two, b: Two, yes: Two, no: Two) -> Two {
        let pick = |i: usize| unsafe { _mm256_blendv_ps(no[i], yes[i], _mm256_cmp_ps::<_CMP_LT_OQ>(a[i], b[i])) };
        [pick(0), pick(1)]
    }

    #[inline(always)]
    fn pow2_shifted(self, n: Two) -> Two {
        let one = |n: __m256| unsafe {
            let exponent = _mm256_slli_epi32::<23>(_mm256_castps_si256(n));
            _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_set1_epi32(0x3f80_0000)))
        };
        [one(n[0]), one(n[1])]
    }

    #[inline(always)]
    fn sum(self, v: Two) -> f32 {
        unsafe { fold8!(_mm256_add_ps(v[0], v[1]), _mm_add_ps, _mm_add_ss) }
    }

    #[inline(always)]
    unsafe fn look_up(self, table: Two, from: *const u8) -> Two {
        unsafe { super::unpack::look_up_avx2(table, from) }
    }

    #[inline(always)]
    unsafe fn load_bytes(self, from: *const i8) -> Two {
        unsafe { super::unpack::load_bytes_avx2(from) }
    }

    #[inline(always)]
    unsafe fn load_codes(self, from: *const u8) -> Self::I {
        unsafe { super::unpack::load_codes_avx2(from) }
    }

    #[inline(always)]
    fn bit_a_lane(self, bits: u32) -> Self::I {
        unsafe { super::unpack::bit_a_lane_avx2(bits) }
    }

    #[inline(always)]
    fn lower(self, a: Self::I, by: u32) -> Self::I {
        let one = |a: __m256i| unsafe { _mm256_srl_epi32(a, _mm_cvtsi32_si128(by.cast_signed())) };
        [one(a[0]), one(a[1])]
    }

    #[inline(always)]
    fn higher(self, a: Self::I, by: u32) -> Self::I {
        let one = |a: __m256i| unsafe { _mm256_sll_epi32(a, _mm_cvtsi32_si128(by.cast_signed())) };
        [one(a[0]), one(a[1])]
    }

    #[inline(always)]
    fn masked(self, a: Self::I, mask: u32) -> Self::I {
        let one = |a: __m256i| unsafe { _mm256_and_si256(a, _mm256_set1_epi32(mask.cast_signed())) };
        [one(a[0]), one(a[1])]
    }

    #[inline(always)]
    fn joined(self, a: Self::I, b: Self::I) -> Self::I {
        both!(_mm256_or_si256(a, b))
    }

    #[inline(always)]
    fn to_floats(self, a: Self::I) -> Two {
        both!(_mm256_cvtepi32_ps(a))
    }

    #[inline(always)]
    fn max_lane(self, v: Two) -> f32 {
        unsafe { fold8!(_mm256_max_ps(v[0], v[1]), _mm_max_ps, _mm_max_ss) }
    }

    #[inline(always)]
    unsafe fn product(self, product: &TileProduct) {
        unsafe { product_avx2(self, product) }
    }

    #[inline(always)]
    unsafe fn sum_each(self, from: *const f32, to: *mut f32) {
        unsafe { super::sums::sum_each_avx2(from, to) }
    }
}
