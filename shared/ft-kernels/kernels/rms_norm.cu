// The root-mean-square norm, of rows or of groups of a row's columns: y = w x / sqrt(mean(x^2) + eps), and its gradient
// dx = s (g - x s^2 mean(g x)) + residual, with s = 1 / sqrt(mean(x^2) + eps) and g = w dy.
//
// A block has one group: group g of row t is the `width` columns from t * stride + first + g * width on. A norm of whole
// rows has one group, and stride = width. Rows are f32, bf16 or f16, weights [width] f32, sums f32. Up to 2^31 - 1 blocks
// of 32 to 1024 threads; stride, first and width below 2^31; y may be x, and dx may be dy.

#include "rows.cuh"

FT_MODULE(rms_norm)

FT_DEVICE uint64_t group_start(int groups, int width, int stride, int first) {
    const uint32_t row = blockIdx.x / groups, group = blockIdx.x % groups;
    return static_cast<uint64_t>(row) * stride + first + static_cast<uint64_t>(group) * width;
}

template <typename T>
FT_DEVICE void rms_norm(const T *x, const float *w, T *y, int groups, int width, int stride, int first, float eps) {
    const uint64_t start = group_start(groups, width, stride, first);
    x += start;
    y += start;
    float square[1] = {0.0f};
    along_row<T>(width, threadIdx.x, blockDim.x, [&](auto count, int i) {
        float values[count.value];
        load_floats(values, x + i);
        for (float value : values) {
            square[0] += value * value;
        }
    });
    block_sums(square);
    const float scale = 1.0f / sqrtf(square[0] / width + eps);
    along_row<T>(width, threadIdx.x, blockDim.x, [&](auto count, int i) {
        float values[count.value];
        load_floats(values, x + i);
        for (int k = 0; k < count.value; ++k) {
            values[k] = values[k] * scale * load(w + i + k);
        }
        store_floats(y + i, values);
    });
}

// `residual`, what comes around the normed branch, may be null; it lies as x does.
template <typename T>
FT_DEVICE void rms_norm_backward(const T *dy, const T *x, const float *w, const T *residual, T *dx, int groups, int width,
                                 int stride, int first, float eps) {
    const uint64_t start = group_start(groups, width, stride, first);
    x += start;
    dy += start;
    dx += start;
    float sums[2] = {0.0f, 0.0f};
    along_row<T>(width, threadIdx.x, blockDim.x, [&](auto count, int i) {
        float values[count.value], up[count.value];
        load_floats(values, x + i);
        load_floats(up, dy + i);
        for (int k = 0; k < count.value; ++k) {
            sums[0] += values[k] * values[k];
            sums[1] += up[k] * load(w + i + k) * values[k];
        }
    });
    block_sums(sums);
    const float scale = 1.0f / sqrtf(sums[0] / width + eps);
    const float along = sums[1] / width * scale * scale * scale;
    along_row<T>(width, threadIdx.x, blockDim.x, [&](auto count, int i) {
        float values[count.value], up[count.value];
        load_floats(values, x + i);
        load_floats(up, dy + i);
        for (int k = 0; k < count.value; ++k) {
            up[k] = up[k] * load(w + i + k) * scale - values[k] * along;
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

#define FT_RMS_NORM(T, suffix)                                                                                          \
    extern "C" __global__ void ft_rms_norm_##suffix(const T *x, const float *w, T *y, int groups, int width, int stride, \
                                                    int first, float eps) {                                            \
        rms_norm(x, w, y, groups, width, stride, first, eps);                                                          \
    }                                                                                                                  \
    FT_KERNEL(ft_rms_norm_##suffix)                                                                                    \
    extern "C" __global__ void ft_rms_norm_backward_##suffix(const T *dy, const T *x, const float *w, const T *residual, \
                                                             T *dx, int groups, int width, int stride, int first,      \
                                                             float eps) {                                              \
        rms_norm_backward(dy, x, w, residual, dx, groups, width, stride, first, eps);                                  \
    }                                                                                                                  \
    FT_KERNEL(ft_rms_norm_backward_##suffix)                                                                           \
    extern "C" __global__ void ft_head_norm_##suffix(T *x, const float *w, int groups, int width, int stride, int first, \
                                                     float eps) {                                                      \
        rms_norm(x, w, x, groups, width, stride, first, eps);                                                          \
    }                                                                                                                  \
    FT_KERNEL(ft_head_norm_##suffix)                                                                                   \
    extern "C" __global__ void ft_head_norm_backward_##suffix(T *dy, const T *x, const float *w, int groups, int width,  \
                                                              int stride, int first, float eps) {                      \
        rms_norm_backward<T>(dy, x, w, nullptr, dy, groups, width, stride, first, eps);                                \
    }                                                                                                                  \
    FT_KERNEL(ft_head_norm_backward_##suffix)

FT_RMS_NORM(float, f32)
FT_RMS_NORM(bf16, bf16)
FT_RMS_NORM(f16, f16)
