// Frozen matrices in few bits as numbers again: `len` elements from number `start` on, in f32, bf16 or f16, each one product in
// f32 and one rounding.
//
// four: two codes a byte, the first in the upper half, each a place in `table` [16], times the scale of its block of `block`
// elements (NF4 and FP4 as bitsandbytes has them). eight: blocks of 34 bytes, a scale in f16 and 32 signed bytes (Q8_0).
// A block has PART elements; start is below 2^63.

#include "rows.cuh"

FT_MODULE(expand)

constexpr uint64_t PART = 4096;

// `work(i)` gives element i; elements of the block go out 16 bytes at a time where a whole such pack is there.
template <typename T, typename Work> FT_DEVICE void write_part(T *out, uint64_t start, uint64_t len, Work work) {
    const uint64_t begin = blockIdx.x * PART, end = begin + PART < len ? begin + PART : len;
    const uint64_t whole = end / WIDE<T> * WIDE<T>;
    for (uint64_t i = begin + threadIdx.x * WIDE<T>; i < whole; i += blockDim.x * WIDE<T>) {
        float values[WIDE<T>];
#pragma unroll
        for (int k = 0; k < WIDE<T>; ++k) {
            values[k] = work(start + i + k);
        }
        store_floats(out + i, values);
    }
    for (uint64_t i = (begin > whole ? begin : whole) + threadIdx.x; i < end; i += blockDim.x) {
        store(out + i, from_float<T>(work(start + i)));
    }
}

template <typename T>
FT_DEVICE void expand_four(const uint8_t *packed, const float *scales, const float *table, T *out, uint64_t start,
                           uint64_t len, int block) {
    FT_SHARED(float, ft_table, 16);
    if (threadIdx.x < 16) {
        ft_table[threadIdx.x] = load(table + threadIdx.x);
    }
    sync();
    write_part(out, start, len, [&](uint64_t i) {
        const uint8_t byte = load(packed + i / 2);
        return ft_table[i % 2 == 0 ? byte >> 4 : byte & 15] * load(scales + i / block);
    });
}

template <typename T> FT_DEVICE void expand_eight(const uint8_t *blocks, T *out, uint64_t start, uint64_t len) {
    write_part(out, start, len, [&](uint64_t i) {
        const uint8_t *block = blocks + i / 32 * 34;
        const float scale = to_float(load(reinterpret_cast<const f16 *>(block)));
        return scale * static_cast<float>(static_cast<int8_t>(load(block + 2 + i % 32)));
    });
}

#define FT_EXPAND(T, suffix)                                                                                           \
    extern "C" __global__ void ft_expand_four_##suffix(const uint8_t *packed, const float *scales, const float *table, \
                                                       T *out, uint64_t start, uint64_t len, int block) {              \
        expand_four(packed, scales, table, out, start, len, block);                                                    \
    }                                                                                                                  \
    FT_KERNEL(ft_expand_four_##suffix)                                                                                 \
    extern "C" __global__ void ft_expand_eight_##suffix(const uint8_t *blocks, T *out, uint64_t start, uint64_t len) { \
        expand_eight(blocks, out, start, len);                                                                         \
    }                                                                                                                  \
    FT_KERNEL(ft_expand_eight_##suffix)

FT_EXPAND(float, f32)
FT_EXPAND(bf16, bf16)
FT_EXPAND(f16, f16)
