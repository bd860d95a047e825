// The layer norm of rows: y = w (x - mean) / sqrt(var + eps) + b, and its gradient dx = s (g - mean(g) - c s^2 mean(g c)) +
// residual, with c = x - mean, s = 1 / sqrt(var + eps) and g = w dy.
//
// A block has one row of `columns` f32, bf16 or f16; w and b are f32, b and residual may be null. The variance is formed of
// the differences from the mean, in a second walk. Blocks of 32 to 1024 threads; columns below 2^31.

#include "rows.cuh"

FT_MODULE(layer_norm)

// The row's mean and 1 / sqrt(var + eps).
template <typename T> FT_DEVICE void moments(const T *x, int columns, float eps, float &mean, float &scale) {
    float sum[1] = {0.0f};
    along_row<T>(columns, threadIdx.x, blockDim.x, [&](auto count, int i) {
        float values[count.value];
        load_floats(values, x + i);
        for (float value : values) {
            sum[0] += value;
        }
    });
    block_sums(sum);
    mean = sum[0] / columns;
    sum[0] = 0.0f;
    along_row<T>(columns, threadIdx.x, blockDim.x, [&](auto count, int i) {
        float values[count.value];
        load_floats(values, x + i);
        for (float value : values) {
            sum[0] += (value - mean) * (value - mean);
        }
    });
    block_sums(sum);
    scale = 1.0f / sqrtf(sum[0] / columns + eps);
}

template <typename T>
FT_DEVICE void layer_norm(const T *x, const float *w, const float *b, T *y, int columns, float eps) {
    const uint64_t start = static_cast<uint64_t>(blockIdx.x) * columns;
    x += start;
    y += start;
    float mean, scale;
    moments(x, columns, eps, mean, scale);
    along_row<T>(columns, threadIdx.x, blockDim.x, [&](auto count, int i) {
        float values[count.value];
        load_floats(values, x + i);
        for (int k = 0; k < count.value; ++k) {
            values[k] = (values[k] - mean) * scale * load(w + i + k);
            values[k] += b == nullptr ? 0.0f : load(b + i + k);
        }
        store_floats(y + i, values);
    });
}

template <typename T>
FT_DEVICE void layer_norm_backward(const T *dy, const T *x, const float *w, const T *residual, T *dx, int columns,
                                   float eps) {
    const uint64_t start = static_cast<uint64_t>(blockIdx.x) * columns;
    x += start;
    dy += start;
    dx += start;
    float mean, scale;
    moments(x, columns, eps, mean, scale);
    float sums[2] = {0.0f, 0.0f};
    along_row<T>(columns, threadIdx.x, blockDim.x, [&](auto count, int i) {
        float values[count.value], up[count.value];
        load_floats(values, x + i);
        load_floats(up, dy + i);
        for (int k = 0; k < count.value; ++k) {
            const float g = up[k] * load(w + i + k);
            sums[0] += g;
            sums[1] += g * (values[k] - mean);
        }
    });
    block_sums(sums);
    const float level = sums[0] / columns, along = sums[1] / columns * scale * scale;
    along_row<T>(columns, threadIdx.x, blockDim.x, [&](auto count, int i) {
        float values[count.value], up[count.value];
        load_floats(values, x + i);
        load_floats(up, dy + i);
        for (int k = 0; k < count.value; ++k) {
            up[k] = (up[k] * load(w + i + k) - level - (values[k] - mean) * along) * scale;
        }
        if (residual != nullptr) {
            load_floats(values, residual + start + i);
            for (int k = 0; k < count.value; ++k) {
                up[k] += values[k];
            }
        }
        store_floats(dx + i, up);
    });
}

#define FT_LAYER_NORM(T, suffix)                                                                                        \
    extern "C" __global__ void ft_layer_norm_##suffix(const T *x, const float *w, const float *b, T *y, int columns,    \
                                                      float eps) {                                                     \
        layer_norm(x, w, b, y, columns, eps);                                                                          \
    }                                                                                                                  \
    FT_KERNEL(ft_layer_norm_##suffix)                                                                                  \
    extern "C" __global__ void ft_layer_norm_backward_##suffix(const T *dy, const T *x, const float *w,                \
                                                               const T *residual, T *dx, int columns, float eps) {     \
        layer_norm_backward(dy, x, w, residual, dx, columns, eps);                                                     \
    }                                                                                                                  \
    FT_KERNEL(ft_layer_norm_backward_##suffix)

FT_LAYER_NORM(float, f32)
FT_LAYER_NORM(bf16, bf16)
FT_LAYER_NORM(f16, f16)
