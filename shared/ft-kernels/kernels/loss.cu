// Cross-entropy of rows of logits in one launch: each row's loss, whether its target is the first of its largest logits,
// and the gradient of `scale` times the loss in the logits' own place.
//
// A block has one row of `columns` f32, bf16 or f16; targets are below `columns` (the caller sees to it). Logits are shaped
// first: l = shape x, then l = cap tanh(l / cap) where cap is not 0. Largest logit and sum of e^l are found in one walk, the
// gradient is written in a second: two reads and a write. Blocks of 32 to 1024 threads, whole warps.

#include "rows.cuh"

FT_MODULE(loss)

FT_DEVICE float shaped(float x, float shape, float cap) {
    const float l = x * shape;
    return cap == 0.0f ? l : cap * tanhf(l / cap);
}

// Of some of a row's logits the largest, the first place of it, and the sum of e^(l - largest).
struct Peak {
    float largest;
    uint32_t place;
    float sum;
};

FT_DEVICE Peak joined(const Peak &a, const Peak &b) {
    const bool first = a.largest > b.largest || (a.largest == b.largest && a.place < b.place);
    const Peak &high = first ? a : b, &low = first ? b : a;
    // Where neither has seen a finite logit, both are minus infinity.
    const float down = low.largest == high.largest ? 1.0f : expf(low.largest - high.largest);
    return {high.largest, high.place, high.sum + low.sum * down};
}

FT_DEVICE Peak block_peak(Peak peak) {
    FT_SHARED(float, ft_largest, MOST_WARPS);
    FT_SHARED(uint32_t, ft_place, MOST_WARPS);
    FT_SHARED(float, ft_sum, MOST_WARPS);
    for (int bits = 1; bits < 32; bits *= 2) {
        const Peak other{shuffle_xor(peak.largest, bits), shuffle_xor(peak.place, bits), shuffle_xor(peak.sum, bits)};
        peak = joined(peak, other);
    }
    if (threadIdx.x % 32 == 0) {
        ft_largest[threadIdx.x / 32] = peak.largest;
        ft_place[threadIdx.x / 32] = peak.place;
        ft_sum[threadIdx.x / 32] = peak.sum;
    }
    sync();
    Peak all{ft_largest[0], ft_place[0], ft_sum[0]};
    for (uint32_t i = 1; i < blockDim.x / 32; ++i) {
        all = joined(all, {ft_largest[i], ft_place[i], ft_sum[i]});
    }
    return all;
}

template <typename T>
FT_DEVICE void cross_entropy(const T *logits, T *gradient, const uint32_t *targets, float *nll, uint32_t *correct,
                             int columns, float scale, float shape, float cap) {
    logits += static_cast<uint64_t>(blockIdx.x) * columns;
    const uint32_t target = load(targets + blockIdx.x);
    Peak peak{-INFINITY, 0xffffffffu, 0.0f};
    along_row<T>(columns, threadIdx.x, blockDim.x, [&](auto count, int i) {
        float l[count.value];
        load_floats(l, logits + i);
        for (int k = 0; k < count.value; ++k) {
            l[k] = shaped(l[k], shape, cap);
            if (l[k] > peak.largest) {
                peak.sum *= expf(peak.largest - l[k]);
                peak.largest = l[k];
                peak.place = i + k;
            }
            // A logit of minus infinity adds nothing, also as the first.
            peak.sum += l[k] == -INFINITY ? 0.0f : expf(l[k] - peak.largest);
        }
    });
    peak = block_peak(peak);
    const float own = shaped(to_float(load(logits + target)), shape, cap);
    if (threadIdx.x == 0) {
        store(nll + blockIdx.x, logf(peak.sum) + peak.largest - own);
        store(correct + blockIdx.x, static_cast<uint32_t>(peak.place == target));
    }
    if (gradient == nullptr) {
        return;
    }
    // All have read the target's logit.
    sync();
    gradient += static_cast<uint64_t>(blockIdx.x) * columns;
    const float inverse = 1.0f / peak.sum;
    along_row<T>(columns, threadIdx.x, blockDim.x, [&](auto count, int i) {
        float x[count.value];
        load_floats(x, logits + i);
        for (int k = 0; k < count.value; ++k) {
            const float l = shaped(x[k], shape, cap);
            const float p = expf(l - peak.largest) * inverse - (static_cast<uint32_t>(i + k) == target ? 1.0f : 0.0f);
            const float bent = cap == 0.0f ? 1.0f : 1.0f - (l / cap) * (l / cap);
            x[k] = p * scale * shape * bent;
        }
        store_floats(gradient + i, x);
    });
}

// The shaped logits, in place; a block has one row.
template <typename T> FT_DEVICE void shape_logits(T *logits, int columns, float shape, float cap) {
    logits += static_cast<uint64_t>(blockIdx.x) * columns;
    along_row<T>(columns, threadIdx.x, blockDim.x, [&](auto count, int i) {
        float x[count.value];
        load_floats(x, logits + i);
        for (float &value : x) {
            value = shaped(value, shape, cap);
        }
        store_floats(logits + i, x);
    });
}

#define FT_LOSS(T, suffix)                                                                                              \
    extern "C" __global__ void ft_cross_entropy_##suffix(T *logits, const uint32_t *targets, float *nll,                \
                                                         uint32_t *correct, int columns, float scale, float shape,     \
                                                         float cap) {                                                  \
        cross_entropy<T>(logits, logits, targets, nll, correct, columns, scale, shape, cap);                           \
    }                                                                                                                  \
    FT_KERNEL(ft_cross_entropy_##suffix)                                                                               \
    extern "C" __global__ void ft_row_losses_##suffix(const T *logits, const uint32_t *targets, float *nll,             \
                                                      uint32_t *correct, int columns, float shape, float cap) {        \
        cross_entropy<T>(logits, nullptr, targets, nll, correct, columns, 0.0f, shape, cap);                           \
    }                                                                                                                  \
    FT_KERNEL(ft_row_losses_##suffix)                                                                                  \
    extern "C" __global__ void ft_shape_logits_##suffix(T *logits, int columns, float shape, float cap) {               \
        shape_logits(logits, columns, shape, cap);                                                                     \
    }                                                                                                                  \
    FT_KERNEL(ft_shape_logits_##suffix)

FT_LOSS(float, f32)
FT_LOSS(bf16, bf16)
FT_LOSS(f16, f16)
