// A residual connection with a factor, in place: y = base + factor y, or y = factor y where base is null.
//
// `len` elements of f32, bf16 or f16, computed in f32; a block has PART of them.

#include "rows.cuh"

FT_MODULE(residual)

template <typename T> FT_DEVICE void add_scaled(const T *base, T *y, uint64_t len, float factor) {
    constexpr uint64_t PART = 4096;
    const uint64_t begin = blockIdx.x * PART, end = begin + PART < len ? begin + PART : len;
    const auto add = [&](auto count, uint64_t i) {
        float values[count.value], under[count.value];
        load_floats(values, y + i);
        if (base != nullptr) {
            load_floats(under, base + i);
        }
        for (int k = 0; k < count.value; ++k) {
            values[k] = base == nullptr ? values[k] * factor : under[k] + values[k] * factor;
        }
        store_floats(y + i, values);
    };
    const uint64_t whole = end / WIDE<T> * WIDE<T>;
    for (uint64_t i = begin + threadIdx.x * WIDE<T>; i < whole; i += blockDim.x * WIDE<T>) {
        add(Count<WIDE<T>>{}, i);
    }
    for (uint64_t i = whole + threadIdx.x; i < end; i += blockDim.x) {
        add(Count<1>{}, i);
    }
}

#define FT_RESIDUAL(T, suffix)                                                                                          \
    extern "C" __global__ void ft_add_scaled_##suffix(const T *base, T *y, uint64_t len, float factor) {                \
        add_scaled(base, y, len, factor);                                                                              \
    }                                                                                                                  \
    FT_KERNEL(ft_add_scaled_##suffix)

FT_RESIDUAL(float, f32)
FT_RESIDUAL(bf16, bf16)
FT_RESIDUAL(f16, f16)
