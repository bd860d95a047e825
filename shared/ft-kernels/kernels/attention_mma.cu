// Attention on tensor cores (attention.cuh says what it is), forward and backward: bf16 or f16, heads of 64, 80, 96, 128, 192
// or 256 columns, sums and softmax in f32; probabilities and the scores' gradients are rounded for their products.
//
// blockIdx.x is a tile of ROWS queries, or of as many keys where keys' and values' gradients are formed; blockIdx.y is the
// head. Four warps have 16 rows of the tile each. The other side comes in tiles of OTHER rows by asynchronous copies, keys
// while the last values are used and the other way round. Rows in shared memory have eight elements of padding, so that
// ldmatrix finds no two rows in one bank. No two blocks write one number, and every sum goes from the sequence's first
// token on, so a sequence does not know its neighbours, nor a token's result the later ones.
//
// After T. Dao, "FlashAttention-2", 2023, algorithms 1 and 2, but for the backward, whose two halves are kernels of their
// own: so no sum depends on who comes first.

#include "attention.cuh"

FT_MODULE(attention_mma)

constexpr int WARPS = 4, THREADS = WARPS * 32, ROWS = WARPS * 16;
constexpr float LOG2_E = 1.4426950408889634f, LN_2 = 0.6931471805599453f;

// Elements between two rows of a tile in shared memory.
template <int D> constexpr int PITCH = D + 8;

// Rows `first` to `first + count - 1` of a sequence on their way into shared memory, zeros behind its end. `from` is the
// sequence's first row's first column.
template <typename T, int D>
FT_DEVICE void bring(T *to, const T *from, int stride, int first, int count, int length) {
    constexpr int PACKS = D / 8;
    for (int i = threadIdx.x; i < count * PACKS; i += THREADS) {
        const int row = i / PACKS, column = i % PACKS * 8;
        const bool there = first + row < length;
        const T *source = there ? from + static_cast<uint64_t>(first + row) * stride + column : from;
        cp_async16(to + row * PITCH<D> + column, source, there);
    }
}

// c = a b^T of the warp's 16 rows a and N rows b, both of D columns.
template <typename T, int D, int N> FT_DEVICE void product(float (&c)[N / 8][4], const T *a, const T *b) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int n = 0; n < N / 8; ++n) {
        c[n][0] = c[n][1] = c[n][2] = c[n][3] = 0.0f;
    }
#pragma unroll
    for (int k = 0; k < D; k += 16) {
        uint32_t left[4];
        ldmatrix_x4(left, a + lane % 16 * PITCH<D> + k + lane / 16 * 8);
#pragma unroll
        for (int n = 0; n < N; n += 16) {
            uint32_t right[4];
            ldmatrix_x4(right, b + (n + lane / 16 * 8 + lane % 8) * PITCH<D> + k + lane / 8 % 2 * 8);
            mma_16816<T>(c[n / 8], left, right[0], right[1]);
            mma_16816<T>(c[n / 8 + 1], left, right[2], right[3]);
        }
    }
}

// sums += w b of the warp's 16 rows w of N numbers and N rows b of D columns.
template <typename T, int D, int N>
FT_DEVICE void accumulate(float (&sums)[D / 8][4], const float (&w)[N / 8][4], const T *b) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < N; k += 16) {
        const float(&low)[4] = w[k / 8], (&high)[4] = w[k / 8 + 1];
        const uint32_t left[4] = {packed<T>(low[0], low[1]), packed<T>(low[2], low[3]), packed<T>(high[0], high[1]),
                                  packed<T>(high[2], high[3])};
#pragma unroll
        for (int n = 0; n < D; n += 16) {
            uint32_t right[4];
            ldmatrix_x4_trans(right, b + (k + lane % 16) * PITCH<D> + n + lane / 16 * 8);
            mma_16816<T>(sums[n / 8], left, right[0], right[1]);
            mma_16816<T>(sums[n / 8 + 1], left, right[2], right[3]);
        }
    }
}

// The warp's 16 rows of sums, times a factor for each half, to rows from `to` on of which `rows` are there.
template <typename T, int D>
FT_DEVICE void store_rows(T *to, int stride, int rows, const float (&sums)[D / 8][4], float upper, float lower) {
    const int row = threadIdx.x % 32 / 4, member = threadIdx.x % 4;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        if (row + half * 8 < rows) {
            T *own = to + static_cast<uint64_t>(row + half * 8) * stride + member * 2;
            const float factor = half == 0 ? upper : lower;
#pragma unroll
            for (int n = 0; n < D / 8; ++n) {
                store(reinterpret_cast<uint32_t *>(own + n * 8),
                      packed<T>(sums[n][half * 2] * factor, sums[n][half * 2 + 1] * factor));
            }
        }
    }
}

FT_DEVICE float group_max(float x) {
    x = fmaxf(x, shuffle_xor(x, 1));
    return fmaxf(x, shuffle_xor(x, 2));
}
FT_DEVICE float group_sum(float x) {
    x += shuffle_xor(x, 1);
    return x + shuffle_xor(x, 2);
}

// The keys that some queries see: `begin` is a tile's first.
struct Seen {
    int begin, end;
};
FT_DEVICE Seen keys_of(const Tile &tile, int window, int step) {
    const int first = window == 0 ? 0 : tile.first + 1 - window;
    const int end = tile.first + ROWS < tile.length ? tile.first + ROWS : tile.length;
    return {first < 0 ? 0 : first / step * step, end};
}

// Whether each of the tile's queries sees all of `count` keys.
FT_DEVICE bool all_seen(const Spec &spec, const Tile &tile, int key, int count) {
    return key + count - 1 <= tile.first && (spec.window == 0 || tile.first + ROWS - 1 - key < spec.window);
}

template <typename T, int D>
FT_DEVICE void forward(const T *qkv, const uint32_t *tiles, T *out, float *lse, const Spec &spec) {
    constexpr int OTHER = D > 128 ? 32 : 64;
    T *q = reinterpret_cast<T *>(shared_memory()), *k = q + ROWS * PITCH<D>, *v = k + OTHER * PITCH<D>;
    const Tile tile = tile_of(tiles);
    const int head = blockIdx.y, kv = head / (spec.heads / spec.kv_heads), stride = spec.row();
    const T *sequence = qkv + static_cast<uint64_t>(tile.start) * stride;
    const T *keys = sequence + (spec.heads + kv) * D, *values = keys + spec.kv_heads * D;
    const int first = threadIdx.x / 32 * 16, row = first + threadIdx.x % 32 / 4, column = threadIdx.x % 4 * 2;
    const Seen seen = keys_of(tile, spec.window, OTHER);
    bring<T, D>(q, sequence + head * D, stride, tile.first, ROWS, tile.length);
    bring<T, D>(k, keys, stride, seen.begin, OTHER, tile.length);
    cp_async_commit();
    float sums[D / 8][4] = {}, largest[2] = {-INFINITY, -INFINITY}, total[2] = {0.0f, 0.0f};
    for (int at = seen.begin; at < seen.end; at += OTHER) {
        // The keys are there, and all have used the last values.
        cp_async_wait<0>();
        sync();
        bring<T, D>(v, values, stride, at, OTHER, tile.length);
        cp_async_commit();
        float scores[OTHER / 8][4];
        product<T, D, OTHER>(scores, q + first * PITCH<D>, k);
        cp_async_wait<0>();
        sync();
        if (at + OTHER < seen.end) {
            bring<T, D>(k, keys, stride, at + OTHER, OTHER, tile.length);
            cp_async_commit();
        }
        const bool all = all_seen(spec, tile, at, OTHER);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float peak = -INFINITY;
#pragma unroll
            for (int n = 0; n < OTHER / 8; ++n) {
#pragma unroll
                for (int i = half * 2; i < half * 2 + 2; ++i) {
                    const bool there = all || spec.sees(tile.first + row + half * 8, at + n * 8 + column + i % 2);
                    scores[n][i] = there ? spec.score(scores[n][i]) * LOG2_E : -INFINITY;
                    peak = fmaxf(peak, scores[n][i]);
                }
            }
            peak = fmaxf(group_max(peak), largest[half]);
            // Where nothing is seen yet, everything is minus infinity, and so is the difference to 0.
            const float level = peak == -INFINITY ? 0.0f : peak, down = exp2_fast(largest[half] - level);
            largest[half] = peak;
            total[half] *= down;
#pragma unroll
            for (int n = 0; n < OTHER / 8; ++n) {
#pragma unroll
                for (int i = half * 2; i < half * 2 + 2; ++i) {
                    scores[n][i] = exp2_fast(scores[n][i] - level);
                    total[half] += scores[n][i];
                }
            }
#pragma unroll
            for (int n = 0; n < D / 8; ++n) {
                sums[n][half * 2] *= down;
                sums[n][half * 2 + 1] *= down;
            }
        }
        accumulate<T, D, OTHER>(sums, scores, v);
    }
    total[0] = group_sum(total[0]);
    total[1] = group_sum(total[1]);
    const uint64_t token = tile.start + static_cast<uint64_t>(tile.first + first);
    const int rows = tile.length - tile.first - first;
    store_rows<T, D>(out + (token * spec.heads + head) * D, spec.heads * D, rows, sums, 1.0f / total[0], 1.0f / total[1]);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int own = row - first + half * 8;
        if (column == 0 && own < rows) {
            store(lse + (token + own) * spec.heads + head, largest[half] * LN_2 + logf(total[half]));
        }
    }
}

// From the products q k and dout v of pairs their probabilities, and the gradients of the products q k.
FT_DEVICE void pair(const Spec &spec, bool there, float product, float along, float lse, float delta, float &p, float &ds) {
    const float score = spec.score(product);
    p = there ? exp2_fast((score - lse) * LOG2_E) : 0.0f;
    ds = there ? p * (along - delta) * spec.slope(score) : 0.0f;
}

// The gradient of the queries.
template <typename T, int D>
FT_DEVICE void of_queries(const T *dout, const T *qkv, const float *lse, const float *delta, const uint32_t *tiles, T *dqkv,
                          const Spec &spec) {
    constexpr int OTHER = D > 128 ? 16 : D > 96 ? 32 : 64;
    T *q = reinterpret_cast<T *>(shared_memory()), *up = q + ROWS * PITCH<D>, *k = up + ROWS * PITCH<D>;
    T *v = k + OTHER * PITCH<D>;
    const Tile tile = tile_of(tiles);
    const int head = blockIdx.y, kv = head / (spec.heads / spec.kv_heads), stride = spec.row();
    const T *sequence = qkv + static_cast<uint64_t>(tile.start) * stride;
    const T *keys = sequence + (spec.heads + kv) * D, *values = keys + spec.kv_heads * D;
    const int first = threadIdx.x / 32 * 16, row = first + threadIdx.x % 32 / 4, column = threadIdx.x % 4 * 2;
    const uint64_t token = tile.start + static_cast<uint64_t>(tile.first);
    bring<T, D>(q, sequence + head * D, stride, tile.first, ROWS, tile.length);
    bring<T, D>(up, dout + (static_cast<uint64_t>(tile.start) * spec.heads + head) * D, spec.heads * D, tile.first, ROWS,
                tile.length);
    float row_lse[2], row_delta[2], sums[D / 8][4] = {};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const bool there = tile.first + row + half * 8 < tile.length;
        const uint64_t number = (token + row + half * 8) * spec.heads + head;
        row_lse[half] = there ? load(lse + number) : 0.0f;
        row_delta[half] = there ? load(delta + number) : 0.0f;
    }
    const Seen seen = keys_of(tile, spec.window, OTHER);
    for (int at = seen.begin; at < seen.end; at += OTHER) {
        bring<T, D>(k, keys, stride, at, OTHER, tile.length);
        bring<T, D>(v, values, stride, at, OTHER, tile.length);
        cp_async_commit();
        cp_async_wait<0>();
        sync();
        float scores[OTHER / 8][4], along[OTHER / 8][4];
        product<T, D, OTHER>(scores, q + first * PITCH<D>, k);
        product<T, D, OTHER>(along, up + first * PITCH<D>, v);
#pragma unroll
        for (int n = 0; n < OTHER / 8; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int place = tile.first + row + i / 2 * 8;
                const bool there = place < tile.length && spec.sees(place, at + n * 8 + column + i % 2);
                float p;
                pair(spec, there, scores[n][i], along[n][i], row_lse[i / 2], row_delta[i / 2], p, scores[n][i]);
            }
        }
        accumulate<T, D, OTHER>(sums, scores, k);
        sync();
    }
    store_rows<T, D>(dqkv + (token + first) * stride + head * D, stride, tile.length - tile.first - first, sums, 1.0f, 1.0f);
}

// The gradients of a key head's keys or values or both, of all query heads that use it; wide heads do one at a time, for
// their sums fill the registers.
template <typename T, int D, bool KEYS, bool VALUES>
FT_DEVICE void of_keys(const T *dout, const T *qkv, const float *lse, const float *delta, const uint32_t *tiles, T *dqkv,
                       const Spec &spec) {
    constexpr int OTHER = D > 64 ? 16 : 32;
    T *k = reinterpret_cast<T *>(shared_memory()), *v = k + ROWS * PITCH<D>, *q = v + ROWS * PITCH<D>;
    T *up = q + OTHER * PITCH<D>;
    float *levels = reinterpret_cast<float *>(up + OTHER * PITCH<D>), *deltas = levels + OTHER;
    const Tile tile = tile_of(tiles);
    const int kv = blockIdx.y, group = spec.heads / spec.kv_heads, stride = spec.row();
    const T *sequence = qkv + static_cast<uint64_t>(tile.start) * stride;
    const T *gradient = dout + static_cast<uint64_t>(tile.start) * spec.heads * D;
    const int first = threadIdx.x / 32 * 16, row = first + threadIdx.x % 32 / 4, column = threadIdx.x % 4 * 2;
    bring<T, D>(k, sequence + (spec.heads + kv) * D, stride, tile.first, ROWS, tile.length);
    bring<T, D>(v, sequence + (spec.heads + spec.kv_heads + kv) * D, stride, tile.first, ROWS, tile.length);
    float of_key[KEYS ? D / 8 : 1][4] = {}, of_value[VALUES ? D / 8 : 1][4] = {};
    // Behind the last query that sees one of the tile's keys.
    const int last = tile.first + ROWS - 1;
    const int end = spec.window == 0 || tile.length - last < spec.window ? tile.length : last + spec.window;
    for (int head = kv * group; head < (kv + 1) * group; ++head) {
        for (int at = tile.first; at < end; at += OTHER) {
            bring<T, D>(q, sequence + head * D, stride, at, OTHER, tile.length);
            bring<T, D>(up, gradient + head * D, spec.heads * D, at, OTHER, tile.length);
            cp_async_commit();
            if (threadIdx.x < OTHER) {
                const int query = at + threadIdx.x;
                const uint64_t number = (tile.start + static_cast<uint64_t>(query)) * spec.heads + head;
                levels[threadIdx.x] = query < tile.length ? load(lse + number) : 0.0f;
                deltas[threadIdx.x] = query < tile.length ? load(delta + number) : 0.0f;
            }
            cp_async_wait<0>();
            sync();
            float weights[OTHER / 8][4], slopes[OTHER / 8][4] = {};
            product<T, D, OTHER>(weights, k + first * PITCH<D>, q);
            if (KEYS) {
                product<T, D, OTHER>(slopes, v + first * PITCH<D>, up);
            }
#pragma unroll
            for (int n = 0; n < OTHER / 8; ++n) {
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const int query = n * 8 + column + i % 2;
                    const bool there = at + query < tile.length && spec.sees(at + query, tile.first + row + i / 2 * 8);
                    pair(spec, there, weights[n][i], slopes[n][i], levels[query], deltas[query], weights[n][i],
                         slopes[n][i]);
                }
            }
            if constexpr (VALUES) {
                accumulate<T, D, OTHER>(of_value, weights, up);
            }
            if constexpr (KEYS) {
                accumulate<T, D, OTHER>(of_key, slopes, q);
            }
            sync();
        }
    }
    T *to = dqkv + (tile.start + static_cast<uint64_t>(tile.first + first)) * stride + (spec.heads + kv) * D;
    const int rows = tile.length - tile.first - first;
    if constexpr (KEYS) {
        store_rows<T, D>(to, stride, rows, of_key, 1.0f, 1.0f);
    }
    if constexpr (VALUES) {
        store_rows<T, D>(to + spec.kv_heads * D, stride, rows, of_value, 1.0f, 1.0f);
    }
}

#define FT_SPEC int heads, int kv_heads, float scale, int window, float cap

#define FT_ATTENTION_MMA(name, D)                                                                                      \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                              \
        ft_attention_##D##_##name(const FT_TYPE *qkv, const uint32_t *tiles, FT_TYPE *out, float *lse, FT_SPEC) {      \
        forward<FT_TYPE, D>(qkv, tiles, out, lse, Spec{heads, kv_heads, D, scale, window, cap});                       \
    }                                                                                                                  \
    FT_KERNEL(ft_attention_##D##_##name)                                                                               \
    FT_GRADIENT(ft_attention_queries_##D##_##name, D, (of_queries<FT_TYPE, D>))
#define FT_GRADIENT(name, D, function)                                                                                 \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                              \
        name(const FT_TYPE *dout, const FT_TYPE *qkv, const float *lse, const float *delta, const uint32_t *tiles,     \
             FT_TYPE *dqkv, FT_SPEC) {                                                                                 \
        function(dout, qkv, lse, delta, tiles, dqkv, Spec{heads, kv_heads, D, scale, window, cap});                    \
    }                                                                                                                  \
    FT_KERNEL(name)
#define FT_NARROW(name, D)                                                                                             \
    FT_ATTENTION_MMA(name, D)                                                                                          \
    FT_GRADIENT(ft_attention_pairs_##D##_##name, D, (of_keys<FT_TYPE, D, true, true>))
#define FT_WIDE(name, D)                                                                                               \
    FT_ATTENTION_MMA(name, D)                                                                                          \
    FT_GRADIENT(ft_attention_keys_##D##_##name, D, (of_keys<FT_TYPE, D, true, false>))                                 \
    FT_GRADIENT(ft_attention_values_##D##_##name, D, (of_keys<FT_TYPE, D, false, true>))
#define FT_EVERY_WIDTH(name)                                                                                           \
    FT_NARROW(name, 64)                                                                                                \
    FT_NARROW(name, 80)                                                                                                \
    FT_NARROW(name, 96)                                                                                                \
    FT_NARROW(name, 128)                                                                                               \
    FT_WIDE(name, 192)                                                                                                 \
    FT_WIDE(name, 256)

#define FT_TYPE bf16
FT_EVERY_WIDTH(bf16)
#undef FT_TYPE
#define FT_TYPE f16
FT_EVERY_WIDTH(f16)
