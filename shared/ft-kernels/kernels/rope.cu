// Rotary embedding in place: element i of the first half of a head's turning columns with element i of the second half, or,
// with `neighbours`, element 2 i with element 2 i + 1; a' = a cos - b sin, b' = b cos + a sin, backward the angle's negative
// (`sign` -1).
//
// A block has one row of x, of `columns` f32, bf16 or f16, of which the first `heads` heads of `head_dim` turn, each in its
// first 2 half columns. Cosines and sines are f32 [rows, half]. Queries and keys that stand side by side turn in one launch.

#include "rows.cuh"

FT_MODULE(rope)

template <typename T>
FT_DEVICE void rope(T *x, const float *cosines, const float *sines, int columns, int heads, int head_dim, int half,
                    int neighbours, float sign) {
    x += static_cast<uint64_t>(blockIdx.x) * columns;
    cosines += static_cast<uint64_t>(blockIdx.x) * half;
    sines += static_cast<uint64_t>(blockIdx.x) * half;
    const auto turn = [&](auto count, int pair) {
        constexpr int N = decltype(count)::value;
        const int head = pair / half, i = pair % half;
        T *first = x + head * head_dim + (neighbours ? 2 * i : i), *second = first + (neighbours ? 1 : half);
        float a[N], b[N], new_a[N], new_b[N];
        load_floats(a, first);
        load_floats(b, second);
        for (int k = 0; k < N; ++k) {
            const float c = load(cosines + i + k), s = sign * load(sines + i + k);
            new_a[k] = a[k] * c - b[k] * s;
            new_b[k] = b[k] * c + a[k] * s;
        }
        store_floats(first, new_a);
        store_floats(second, new_b);
    };
    const int pairs = heads * half;
    if (!neighbours && half % WIDE<T> == 0 && head_dim % WIDE<T> == 0 && columns % WIDE<T> == 0) {
        for (int pair = threadIdx.x * WIDE<T>; pair < pairs; pair += blockDim.x * WIDE<T>) {
            turn(Count<WIDE<T>>{}, pair);
        }
    } else {
        for (int pair = threadIdx.x; pair < pairs; pair += blockDim.x) {
            turn(Count<1>{}, pair);
        }
    }
}

#define FT_ROPE(T, suffix)                                                                                              \
    extern "C" __global__ void ft_rope_##suffix(T *x, const float *cosines, const float *sines, int columns, int heads, \
                                                int head_dim, int half, int neighbours, float sign) {                  \
        rope(x, cosines, sines, columns, heads, head_dim, half, neighbours, sign);                                     \
    }                                                                                                                  \
    FT_KERNEL(ft_rope_##suffix)

FT_ROPE(float, f32)
FT_ROPE(bf16, bf16)
FT_ROPE(f16, f16)
