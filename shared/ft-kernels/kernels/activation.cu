// Activations, forward and backward, gated (h = a(gate) up, gate and up side by side in a row of 2 inter) and plain. The
// backward of a gated one writes both gradients where gate and up were, and the forward's result is not needed for it.
//
// blockIdx.x is the row, blockIdx.y a part of 1024 columns of inter; rows are f32, bf16 or f16, computed in f32.
// `kind`: 0 silu, 1 gelu with tanh, 2 gelu, 3 relu, 4 its square, 5 xielu with the four numbers that follow.

#include <initializer_list>

#include "rows.cuh"

FT_MODULE(activation)

constexpr float ROOT_2_PI = 0.7978845608028654f, CUBIC = 0.044715f;

struct Activation {
    int kind;
    // Of xielu: p x^2 + beta x above 0, n (e^min(x, eps) - 1 - x) + beta x elsewhere.
    float positive, negative, beta, eps;
};

// e^m - 1 - m of numbers below 0: near it by its series, for the sum would lose its digits.
FT_DEVICE float beyond_the_tangent(float m) {
    if (m < -0.5f) {
        return expf(m) - 1.0f - m;
    }
    float sum = 2.7557319e-6f;
    for (const float next : {2.4801587e-5f, 1.984127e-4f, 1.3888889e-3f, 8.333333e-3f, 4.1666667e-2f, 1.6666667e-1f, 0.5f}) {
        sum = sum * m + next;
    }
    return m * m * sum;
}

FT_DEVICE void xielu(const Activation &of, float x, float &value, float &slope) {
    if (x > 0.0f) {
        value = of.positive * x * x + of.beta * x;
        slope = 2.0f * of.positive * x + of.beta;
        return;
    }
    const float m = x < of.eps ? x : of.eps;
    value = of.negative * (beyond_the_tangent(m) + (m - x)) + of.beta * x;
    // The bound's exponent does not grow with x. What is not a number stays so.
    slope = of.negative * ((x < of.eps ? expf(x) : 0.0f) - 1.0f) + of.beta;
    value = x != x ? x : value;
}

// a(x) and a'(x)
FT_DEVICE void activate(const Activation &of, float x, float &value, float &slope) {
    const int kind = of.kind;
    if (kind == 0) {
        const float g = 1.0f / (1.0f + expf(-x));
        value = x * g;
        slope = g + value * (1.0f - g);
        // e^-x is infinite where x is very small: g is 0 then, and so is the value.
    } else if (kind == 1) {
        // (1 + tanh(u)) / 2 = 1 / (1 + e^-2u), whose tails keep their digits
        const float square = x * x, u = ROOT_2_PI * (x + CUBIC * square * x);
        const float g = 1.0f / (1.0f + expf(-2.0f * u));
        const float inner = 2.0f * ROOT_2_PI * (1.0f + 3.0f * CUBIC * square);
        const float steep = g * (1.0f - g);
        value = x * g;
        slope = g + (steep == 0.0f ? 0.0f : x * steep * inner);
    } else if (kind == 2) {
        const float below = 0.5f * erfcf(-0.7071067811865476f * x);
        const float density = 0.3989422804014327f * expf(-0.5f * x * x);
        value = x * below;
        slope = below + (density == 0.0f ? 0.0f : x * density);
    } else if (kind == 5) {
        xielu(of, x, value, slope);
    } else {
        const float above = x > 0.0f || x != x ? x : 0.0f;
        value = kind == 4 ? above * above : above;
        slope = kind == 4 ? 2.0f * above : x > 0.0f ? 1.0f : 0.0f;
    }
}

// The elements of this block: `work(Count<N>, i)`, N of them at once where rows of `columns` are whole packs.
template <typename T, typename Work> FT_DEVICE void in_part(int columns, Work work) {
    constexpr int PART = 1024;
    const int begin = blockIdx.y * PART, end = begin + PART < columns ? begin + PART : columns;
    if (columns % WIDE<T> == 0) {
        for (int i = begin + threadIdx.x * WIDE<T>; i < end; i += blockDim.x * WIDE<T>) {
            work(Count<WIDE<T>>{}, i);
        }
    } else {
        for (int i = begin + threadIdx.x; i < end; i += blockDim.x) {
            work(Count<1>{}, i);
        }
    }
}

template <typename T> FT_DEVICE void gated(const T *gate_up, T *h, int inter, const Activation &kind) {
    gate_up += static_cast<uint64_t>(blockIdx.x) * 2 * inter;
    h += static_cast<uint64_t>(blockIdx.x) * inter;
    in_part<T>(inter, [&](auto count, int i) {
        float gate[count.value], up[count.value], value, slope;
        load_floats(gate, gate_up + i);
        load_floats(up, gate_up + inter + i);
        for (int k = 0; k < count.value; ++k) {
            activate(kind, gate[k], value, slope);
            up[k] *= value;
        }
        store_floats(h + i, up);
    });
}

template <typename T> FT_DEVICE void gated_backward(const T *dh, T *gate_up, int inter, const Activation &kind) {
    gate_up += static_cast<uint64_t>(blockIdx.x) * 2 * inter;
    dh += static_cast<uint64_t>(blockIdx.x) * inter;
    in_part<T>(inter, [&](auto count, int i) {
        float gate[count.value], up[count.value], d[count.value], value, slope;
        load_floats(gate, gate_up + i);
        load_floats(up, gate_up + inter + i);
        load_floats(d, dh + i);
        for (int k = 0; k < count.value; ++k) {
            activate(kind, gate[k], value, slope);
            gate[k] = d[k] * up[k] * slope;
            up[k] = d[k] * value;
        }
        store_floats(gate_up + i, gate);
        store_floats(gate_up + inter + i, up);
    });
}

template <typename T> FT_DEVICE void plain(const T *x, T *y, int columns, const Activation &kind) {
    const uint64_t start = static_cast<uint64_t>(blockIdx.x) * columns;
    in_part<T>(columns, [&](auto count, int i) {
        float values[count.value], slope;
        load_floats(values, x + start + i);
        for (float &value : values) {
            activate(kind, value, value, slope);
        }
        store_floats(y + start + i, values);
    });
}

// The gradient takes the place of x.
template <typename T> FT_DEVICE void plain_backward(const T *dh, T *x, int columns, const Activation &kind) {
    const uint64_t start = static_cast<uint64_t>(blockIdx.x) * columns;
    in_part<T>(columns, [&](auto count, int i) {
        float values[count.value], d[count.value], value, slope;
        load_floats(values, x + start + i);
        load_floats(d, dh + start + i);
        for (int k = 0; k < count.value; ++k) {
            activate(kind, values[k], value, slope);
            d[k] *= slope;
        }
        store_floats(x + start + i, d);
    });
}

#define FT_NUMBERS int kind, float positive, float negative, float beta, float eps
#define FT_OF Activation{kind, positive, negative, beta, eps}

#define FT_ACTIVATION(T, suffix)                                                                                       \
    extern "C" __global__ void ft_gated_##suffix(const T *gate_up, T *h, int inter, FT_NUMBERS) {                      \
        gated(gate_up, h, inter, FT_OF);                                                                               \
    }                                                                                                                  \
    FT_KERNEL(ft_gated_##suffix)                                                                                       \
    extern "C" __global__ void ft_gated_backward_##suffix(const T *dh, T *gate_up, int inter, FT_NUMBERS) {            \
        gated_backward(dh, gate_up, inter, FT_OF);                                                                     \
    }                                                                                                                  \
    FT_KERNEL(ft_gated_backward_##suffix)                                                                              \
    extern "C" __global__ void ft_plain_##suffix(const T *x, T *y, int columns, FT_NUMBERS) {                          \
        plain(x, y, columns, FT_OF);                                                                                   \
    }                                                                                                                  \
    FT_KERNEL(ft_plain_##suffix)                                                                                       \
    extern "C" __global__ void ft_plain_backward_##suffix(const T *dh, T *x, int columns, FT_NUMBERS) {                \
        plain_backward(dh, x, columns, FT_OF);                                                                         \
    }                                                                                                                  \
    FT_KERNEL(ft_plain_backward_##suffix)

FT_ACTIVATION(float, f32)
FT_ACTIVATION(bf16, bf16)
FT_ACTIVATION(f16, f16)
