// Attention of one query a sequence to the keys and values of its cache (attention.cuh says what it is), as a step of
// generation has it. q and out are [sequences, heads head_dim], f32, bf16 or f16, heads of 1 to 256 columns; keys and values
// are addresses of [tokens, kv_heads head_dim] each, of the same type, one a sequence; lengths are their tokens, 1 or more.
//
// In `attention_decode` blockIdx.x is a part of KEYS keys, counted from the sequence's first token, blockIdx.y the query
// head, blockIdx.z the sequence (up to 65535); a thread has a key, and then columns. Its sums go to `partial` [sequences,
// heads, parts, head_dim + 2], the last two the largest score and the sum of e^(s - largest). `attention_decode_join` adds
// the parts in their order, blockIdx.x the head, blockIdx.y the sequence. What a sequence gives does not depend on the others,
// nor on how many parts the longest has.

#include "attention.cuh"

FT_MODULE(decode)

constexpr int KEYS = 128, MOST_COLUMNS = 256;

// The parts that hold keys which the last token sees.
FT_DEVICE int first_seen(int length, int window) { return window == 0 || length < window ? 0 : length - window; }

template <typename T>
FT_DEVICE void attention_decode(const T *q, const uint64_t *all_keys, const uint64_t *all_values, const uint32_t *lengths,
                                float *partial, int parts, const Spec &spec) {
    FT_SHARED(float, ft_query, MOST_COLUMNS);
    FT_SHARED(float, ft_scores, KEYS);
    const int part = blockIdx.x, head = blockIdx.y, sequence = blockIdx.z, d = spec.head_dim, thread = threadIdx.x;
    const int length = load(lengths + sequence), first = first_seen(length, spec.window);
    const int begin = part * KEYS, stride = spec.kv_heads * d, column = head / (spec.heads / spec.kv_heads) * d;
    if (begin >= length || begin + KEYS <= first) {
        return;
    }
    const T *keys = reinterpret_cast<const T *>(load(all_keys + sequence)) + column;
    const T *values = reinterpret_cast<const T *>(load(all_values + sequence)) + column;
    for (int i = thread; i < d; i += KEYS) {
        ft_query[i] = to_float(load(q + (static_cast<uint64_t>(sequence) * spec.heads + head) * d + i));
    }
    sync();
    const int key = begin + thread;
    float score = -INFINITY;
    if (key < length && key >= first) {
        const T *row = keys + static_cast<uint64_t>(key) * stride;
        float sum = 0.0f;
        const auto add = [&](auto count, int i) {
            float x[count.value];
            load_floats(x, row + i);
            for (int k = 0; k < count.value; ++k) {
                sum += x[k] * ft_query[i + k];
            }
        };
        if (d % WIDE<T> == 0) {
            for (int i = 0; i < d; i += WIDE<T>) {
                add(Count<WIDE<T>>{}, i);
            }
        } else {
            for (int i = 0; i < d; ++i) {
                add(Count<1>{}, i);
            }
        }
        score = spec.score(sum);
    }
    ft_scores[thread] = score;
    sync();
    float largest = -INFINITY, total = 0.0f;
    for (int i = 0; i < KEYS; ++i) {
        largest = fmaxf(largest, ft_scores[i]);
    }
    sync();
    // One key of the part at least is seen, so the largest is a number.
    ft_scores[thread] = expf(score - largest);
    sync();
    for (int i = 0; i < KEYS; ++i) {
        total += ft_scores[i];
    }
    float *to = partial + ((static_cast<uint64_t>(sequence) * spec.heads + head) * parts + part) * (d + 2);
    const int last = length - begin < KEYS ? length - begin : KEYS;
    for (int i = thread; i < d; i += KEYS) {
        float sum = 0.0f;
        for (int k = first > begin ? first - begin : 0; k < last; ++k) {
            sum += ft_scores[k] * to_float(load(values + static_cast<uint64_t>(begin + k) * stride + i));
        }
        store(to + i, sum);
    }
    if (thread == 0) {
        store(to + d, largest);
        store(to + d + 1, total);
    }
}

template <typename T>
FT_DEVICE void join(const float *partial, const uint32_t *lengths, T *out, int parts, const Spec &spec) {
    const int head = blockIdx.x, sequence = blockIdx.y, d = spec.head_dim, length = load(lengths + sequence);
    const uint64_t row = static_cast<uint64_t>(sequence) * spec.heads + head;
    const int begin = first_seen(length, spec.window) / KEYS, end = (length + KEYS - 1) / KEYS;
    const float *from = partial + (row * parts + begin) * (d + 2);
    float largest = -INFINITY, total = 0.0f, sums[MOST_COLUMNS / KEYS] = {};
    for (int part = begin; part < end; ++part, from += d + 2) {
        const float own = load(from + d), peak = fmaxf(largest, own);
        const float down = largest == -INFINITY ? 0.0f : expf(largest - peak), factor = expf(own - peak);
        largest = peak;
        total = total * down + load(from + d + 1) * factor;
        for (int i = 0; i < MOST_COLUMNS / KEYS; ++i) {
            const int column = threadIdx.x + i * KEYS;
            if (column < d) {
                sums[i] = sums[i] * down + load(from + column) * factor;
            }
        }
    }
    for (int i = 0; i < MOST_COLUMNS / KEYS; ++i) {
        const int column = threadIdx.x + i * KEYS;
        if (column < d) {
            store(out + row * d + column, from_float<T>(sums[i] / total));
        }
    }
}

#define FT_DECODE(T, suffix)                                                                                           \
    extern "C" __global__ void __launch_bounds__(KEYS, 1)                                                              \
        ft_attention_decode_##suffix(const T *q, const uint64_t *keys, const uint64_t *values, const uint32_t *lengths, \
                                     float *partial, int parts, int heads, int kv_heads, int head_dim, float scale,    \
                                     int window, float cap) {                                                          \
        attention_decode(q, keys, values, lengths, partial, parts, Spec{heads, kv_heads, head_dim, scale, window, cap}); \
    }                                                                                                                  \
    FT_KERNEL(ft_attention_decode_##suffix)                                                                            \
    extern "C" __global__ void __launch_bounds__(KEYS, 1)                                                              \
        ft_attention_decode_join_##suffix(const float *partial, const uint32_t *lengths, T *out, int parts, int heads, \
                                          int kv_heads, int head_dim, float scale, int window, float cap) {            \
        join(partial, lengths, out, parts, Spec{heads, kv_heads, head_dim, scale, window, cap});                       \
    }                                                                                                                  \
    FT_KERNEL(ft_attention_decode_join_##suffix)

FT_DECODE(float, f32)
FT_DECODE(bf16, bf16)
FT_DECODE(f16, f16)
