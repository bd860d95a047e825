// The sums of a matrix's rows, sequence by sequence: gradients of biases. y[s, j] = sum of x[t, j] over the tokens
// starts[s] to starts[s + 1].
//
// blockIdx.x is a part of blockDim.x columns, blockIdx.y the sequence (up to 65535); a thread has one column, whose rows it
// adds in runs of 32 in f32 and the runs in f64, as the CPU does. x is f32, bf16 or f16 [tokens, columns], y f32.

#include "device.cuh"

FT_MODULE(rows)

template <typename T> FT_DEVICE void sum_rows(const T *x, const uint32_t *starts, float *y, int columns) {
    constexpr uint32_t RUN = 32;
    const int column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= columns) {
        return;
    }
    const uint32_t begin = load(starts + blockIdx.y), end = load(starts + blockIdx.y + 1);
    double total = 0.0;
    for (uint32_t run = begin; run < end; run += RUN) {
        const uint32_t last = run + RUN < end ? run + RUN : end;
        float sum = 0.0f;
        for (uint32_t row = run; row < last; ++row) {
            sum = add(sum, to_float(load(x + static_cast<uint64_t>(row) * columns + column)));
        }
        total = add(total, static_cast<double>(sum));
    }
    store(y + static_cast<uint64_t>(blockIdx.y) * columns + column, static_cast<float>(total));
}

#define FT_ROWS(T, suffix)                                                                                              \
    extern "C" __global__ void ft_sum_rows_##suffix(const T *x, const uint32_t *starts, float *y, int columns) {        \
        sum_rows(x, starts, y, columns);                                                                               \
    }                                                                                                                  \
    FT_KERNEL(ft_sum_rows_##suffix)

FT_ROWS(float, f32)
FT_ROWS(bf16, bf16)
FT_ROWS(f16, f16)
