// The gradients of adapters, sequence by sequence: out[s] = thin^T wide of the sequence's rows, f32 [sequences, thin_columns,
// wide_columns], or each of them transposed. thin [tokens, thin_columns] and wide [tokens, wide_columns] are f32, bf16 or f16,
// products and sums f32.
//
// blockIdx.x is a part of COLUMNS columns of wide, a thread each; blockIdx.y a part of ROWS columns of thin; blockIdx.z the
// sequence (up to 65535), of rows starts[s] to starts[s + 1]. A thread adds runs of RUN rows, and the runs, from the
// sequence's first row on: so the shape of the work is the sequence's own.

#include "device.cuh"

FT_MODULE(gradients)

constexpr int COLUMNS = 128, ROWS = 16, RUN = 32;

template <typename T>
FT_DEVICE void row_products(const T *thin, const T *wide, const uint32_t *starts, float *out, int thin_columns,
                            int wide_columns, int transposed) {
    FT_SHARED(float, ft_thin, RUN * ROWS);
    const uint32_t begin = load(starts + blockIdx.z), end = load(starts + blockIdx.z + 1);
    const int column = blockIdx.x * COLUMNS + threadIdx.x, first = blockIdx.y * ROWS;
    float totals[ROWS] = {};
    for (uint32_t run = begin; run < end; run += RUN) {
        const int count = end - run < RUN ? static_cast<int>(end - run) : RUN;
        for (int i = threadIdx.x; i < RUN * ROWS; i += COLUMNS) {
            const int row = i / ROWS, own = first + i % ROWS;
            const bool there = row < count && own < thin_columns;
            ft_thin[i] = there ? to_float(load(thin + static_cast<uint64_t>(run + row) * thin_columns + own)) : 0.0f;
        }
        sync();
        if (column < wide_columns) {
            float sums[ROWS] = {};
            const T *from = wide + static_cast<uint64_t>(run) * wide_columns + column;
            for (int row = 0; row < count; ++row) {
                const float x = to_float(load(from + static_cast<uint64_t>(row) * wide_columns));
#pragma unroll
                for (int i = 0; i < ROWS; ++i) {
                    sums[i] += ft_thin[row * ROWS + i] * x;
                }
            }
#pragma unroll
            for (int i = 0; i < ROWS; ++i) {
                totals[i] += sums[i];
            }
        }
        sync();
    }
    if (column >= wide_columns) {
        return;
    }
    out += static_cast<uint64_t>(blockIdx.z) * thin_columns * wide_columns;
#pragma unroll
    for (int i = 0; i < ROWS; ++i) {
        const int row = first + i;
        if (row < thin_columns) {
            const uint64_t at = transposed ? static_cast<uint64_t>(column) * thin_columns + row
                                           : static_cast<uint64_t>(row) * wide_columns + column;
            store(out + at, totals[i]);
        }
    }
}

#define FT_GRADIENTS(T, suffix)                                                                                        \
    extern "C" __global__ void __launch_bounds__(COLUMNS, 1)                                                           \
        ft_row_products_##suffix(const T *thin, const T *wide, const uint32_t *starts, float *out, int thin_columns,   \
                                 int wide_columns, int transposed) {                                                   \
        row_products(thin, wide, starts, out, thin_columns, wide_columns, transposed);                                 \
    }                                                                                                                  \
    FT_KERNEL(ft_row_products_##suffix)

FT_GRADIENTS(float, f32)
FT_GRADIENTS(bf16, bf16)
FT_GRADIENTS(f16, f16)
