// bf16 and f16 as 16 bits, and their roundings, to the nearest even, on a GPU and on the host.
#pragma once

#include <cstdint>
#include <cstring>

struct alignas(2) bf16 {
    uint16_t bits;
};
struct alignas(2) f16 {
    uint16_t bits;
};

#ifdef __CUDACC__
#define FT_NUMBER __device__ __forceinline__
#else
#define FT_NUMBER inline
#endif

FT_NUMBER uint32_t bits_of(float x) {
#ifdef __CUDACC__
    return __float_as_uint(x);
#else
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
#endif
}
FT_NUMBER float float_of(uint32_t bits) {
#ifdef __CUDACC__
    return __uint_as_float(bits);
#else
    float x;
    memcpy(&x, &bits, 4);
    return x;
#endif
}

#ifdef __CUDACC__
FT_NUMBER uint16_t f16_of(float x) {
    uint16_t bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}
FT_NUMBER float float_of_f16(uint16_t bits) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
    return x;
}
FT_NUMBER uint16_t bf16_of(float x) {
    uint16_t bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}
#else
inline uint16_t bf16_of(float x) {
    const uint32_t bits = bits_of(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return 0x7fff;
    }
    return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
inline uint16_t f16_of(float x) {
    const uint32_t bits = bits_of(x), sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) {
        return 0x7fff;
    }
    if (magnitude >= 0x477ff000u) { // 65520 and more
        return static_cast<uint16_t>(sign | 0x7c00u);
    }
    if (magnitude < 0x38800000u) { // below 2^-14: a multiple of 2^-24, which the addition rounds
        const float shifted = float_of(magnitude) + 0.5f;
        return static_cast<uint16_t>(sign | (bits_of(shifted) - 0x3f000000u));
    }
    const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    return static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}
inline float float_of_f16(uint16_t half) {
    const uint32_t sign = (half & 0x8000u) << 16, magnitude = half & 0x7fffu;
    if (magnitude >= 0x7c00u) {
        return float_of(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
    }
    if (magnitude < 0x400u) {
        return float_of(sign | bits_of(static_cast<float>(magnitude) * float_of(0x33800000u)));
    }
    return float_of(sign | ((magnitude << 13) + 0x38000000u));
}
#endif

FT_NUMBER float to_float(float x) { return x; }
FT_NUMBER float to_float(bf16 x) { return float_of(static_cast<uint32_t>(x.bits) << 16); }
FT_NUMBER float to_float(f16 x) { return float_of_f16(x.bits); }

template <typename T> FT_NUMBER T from_float(float x);
template <> FT_NUMBER float from_float<float>(float x) { return x; }
template <> FT_NUMBER bf16 from_float<bf16>(float x) { return bf16{bf16_of(x)}; }
template <> FT_NUMBER f16 from_float<f16>(float x) { return f16{f16_of(x)}; }

// Two numbers in 32 bits, the first in the lower half, as the matrix instructions take them.
template <typename T> FT_NUMBER uint32_t packed(float low, float high);
template <> FT_NUMBER uint32_t packed<bf16>(float low, float high) {
#ifdef __CUDACC__
    uint32_t both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
#else
    return bf16_of(low) | static_cast<uint32_t>(bf16_of(high)) << 16;
#endif
}
template <> FT_NUMBER uint32_t packed<f16>(float low, float high) {
#ifdef __CUDACC__
    uint32_t both;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
#else
    return f16_of(low) | static_cast<uint32_t>(f16_of(high)) << 16;
#endif
}
