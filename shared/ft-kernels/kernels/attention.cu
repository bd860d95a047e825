// Attention (attention.cuh says what it is), forward and backward, in f32 arithmetic: for activations of f32, and for heads
// that attention_mma.cu does not take. Heads of 1 to 256 columns, f32, bf16 or f16.
//
// blockIdx.x is a tile of QUERIES queries, or of as many keys where keys' and values' gradients are formed; blockIdx.y is
// the head. Blocks of THREADS threads, eight a row of a tile; the other side comes in tiles of KEYS rows. No two blocks write
// one number, and every sum has one order, which starts at the sequence's first token: so a sequence does not know its
// neighbours.

#include "attention.cuh"

FT_MODULE(attention)

constexpr int THREADS = 128, QUERIES = 16, KEYS = 32, MOST_COLUMNS = 256;
// Threads that share a row of queries, and the accumulators of each.
constexpr int TEAM = THREADS / QUERIES, OWN = MOST_COLUMNS / TEAM;

// Rows `first` to `first + count - 1` of a sequence into shared memory, zeros behind its end. `from` is the sequence's first
// row's first column.
template <typename T>
FT_DEVICE void bring(float *to, const T *from, int stride, int first, int count, int length, int columns) {
    for (int i = threadIdx.x; i < count * columns; i += THREADS) {
        const int row = i / columns, column = i % columns;
        const bool there = first + row < length;
        to[row * (columns + 1) + column] =
            there ? to_float(load(from + static_cast<uint64_t>(first + row) * stride + column)) : 0.0f;
    }
}

FT_DEVICE float dot(const float *a, const float *b, int columns) {
    float sum = 0.0f;
    for (int i = 0; i < columns; ++i) {
        sum += a[i] * b[i];
    }
    return sum;
}

template <typename T>
FT_DEVICE void attention(const T *qkv, const uint32_t *tiles, T *out, float *lse, Spec spec) {
    const int d = spec.head_dim, pitch = spec.head_dim + 1, head = blockIdx.y, kv = head / (spec.heads / spec.kv_heads);
    float *q = reinterpret_cast<float *>(shared_memory()), *k = q + QUERIES * pitch, *v = k + KEYS * pitch;
    float *scores = v + KEYS * pitch;
    const Tile tile = tile_of(tiles);
    const int stride = spec.row();
    const T *sequence = qkv + static_cast<uint64_t>(tile.start) * stride;
    const T *keys = sequence + (spec.heads + kv) * d, *values = keys + spec.kv_heads * d;
    bring(q, sequence + head * d, stride, tile.first, QUERIES, tile.length, d);
    const int row = threadIdx.x / TEAM, member = threadIdx.x % TEAM, place = tile.first + row;
    float sums[OWN] = {}, largest = -INFINITY, total = 0.0f;
    const int seen = spec.window == 0 ? 0 : tile.first + 1 - spec.window;
    const int last = tile.first + QUERIES < tile.length ? tile.first + QUERIES : tile.length;
    for (int at = seen < 0 ? 0 : seen / KEYS * KEYS; at < last; at += KEYS) {
        bring(k, keys, stride, at, KEYS, tile.length, d);
        bring(v, values, stride, at, KEYS, tile.length, d);
        sync();
        for (int key = member; key < KEYS; key += TEAM) {
            const bool there = spec.sees(place, at + key);
            scores[row * KEYS + key] = there ? spec.score(dot(q + row * pitch, k + key * pitch, d)) : -INFINITY;
        }
        sync();
        float peak = largest;
        for (int key = 0; key < KEYS; ++key) {
            peak = fmaxf(peak, scores[row * KEYS + key]);
        }
        // Nothing seen so far: there is nothing to bring down.
        const float down = largest == -INFINITY ? 0.0f : expf(largest - peak);
        largest = peak;
        total *= down;
        for (int i = 0; i < OWN; ++i) {
            sums[i] *= down;
        }
        for (int key = 0; key < KEYS; ++key) {
            const float score = scores[row * KEYS + key];
            const float p = score == -INFINITY ? 0.0f : expf(score - largest);
            total += p;
#pragma unroll
            for (int i = 0; i < OWN; ++i) {
                if (member + i * TEAM < d) {
                    sums[i] += p * v[key * pitch + member + i * TEAM];
                }
            }
        }
        sync();
    }
    if (place >= tile.length) {
        return;
    }
    const uint64_t token = tile.start + static_cast<uint64_t>(place);
#pragma unroll
    for (int i = 0; i < OWN; ++i) {
        if (member + i * TEAM < d) {
            store(out + (token * spec.heads + head) * d + member + i * TEAM, from_float<T>(sums[i] / total));
        }
    }
    if (member == 0) {
        store(lse + token * spec.heads + head, logf(total) + largest);
    }
}

// sum(dout out) of each token and head, [tokens, heads]: a warp each.
template <typename T> FT_DEVICE void attention_delta(const T *dout, const T *out, float *delta, uint32_t rows, int d) {
    const uint64_t row = static_cast<uint64_t>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
    float sum = 0.0f;
    if (row < rows) {
        for (int i = threadIdx.x % 32; i < d; i += 32) {
            sum += to_float(load(dout + row * d + i)) * to_float(load(out + row * d + i));
        }
    }
    sum = warp_sum(sum);
    if (row < rows && threadIdx.x % 32 == 0) {
        store(delta + row, sum);
    }
}

// The probability of a pair, and the gradient of its product q k.
FT_DEVICE void pair(const Spec &spec, float product, float along, float lse, float delta, float &p, float &ds) {
    const float score = spec.score(product);
    p = expf(score - lse);
    ds = p * (along - delta) * spec.slope(score);
}

// The gradient of the queries, which lies in a row as the queries do.
template <typename T>
FT_DEVICE void attention_queries(const T *dout, const T *qkv, const float *lse, const float *delta, const uint32_t *tiles,
                                 T *dqkv, Spec spec) {
    const int d = spec.head_dim, pitch = spec.head_dim + 1, head = blockIdx.y, kv = head / (spec.heads / spec.kv_heads);
    float *q = reinterpret_cast<float *>(shared_memory()), *up = q + QUERIES * pitch, *k = up + QUERIES * pitch;
    float *v = k + KEYS * pitch, *slopes = v + KEYS * pitch;
    const Tile tile = tile_of(tiles);
    const int stride = spec.row();
    const T *sequence = qkv + static_cast<uint64_t>(tile.start) * stride;
    const T *keys = sequence + (spec.heads + kv) * d, *values = keys + spec.kv_heads * d;
    bring(q, sequence + head * d, stride, tile.first, QUERIES, tile.length, d);
    bring(up, dout + (static_cast<uint64_t>(tile.start) * spec.heads + head) * d, spec.heads * d, tile.first, QUERIES,
          tile.length, d);
    const int row = threadIdx.x / TEAM, member = threadIdx.x % TEAM, place = tile.first + row;
    const uint64_t token = tile.start + static_cast<uint64_t>(place);
    const bool own = place < tile.length;
    const float row_lse = own ? load(lse + token * spec.heads + head) : 0.0f;
    const float row_delta = own ? load(delta + token * spec.heads + head) : 0.0f;
    float sums[OWN] = {};
    const int seen = spec.window == 0 ? 0 : tile.first + 1 - spec.window;
    const int last = tile.first + QUERIES < tile.length ? tile.first + QUERIES : tile.length;
    for (int at = seen < 0 ? 0 : seen / KEYS * KEYS; at < last; at += KEYS) {
        bring(k, keys, stride, at, KEYS, tile.length, d);
        bring(v, values, stride, at, KEYS, tile.length, d);
        sync();
        for (int key = member; key < KEYS; key += TEAM) {
            float p, ds = 0.0f;
            if (own && spec.sees(place, at + key)) {
                pair(spec, dot(q + row * pitch, k + key * pitch, d), dot(up + row * pitch, v + key * pitch, d), row_lse,
                     row_delta, p, ds);
            }
            slopes[row * KEYS + key] = ds;
        }
        sync();
        for (int key = 0; key < KEYS; ++key) {
            const float ds = slopes[row * KEYS + key];
#pragma unroll
            for (int i = 0; i < OWN; ++i) {
                if (member + i * TEAM < d) {
                    sums[i] += ds * k[key * pitch + member + i * TEAM];
                }
            }
        }
        sync();
    }
#pragma unroll
    for (int i = 0; i < OWN; ++i) {
        if (own && member + i * TEAM < d) {
            store(dqkv + token * stride + head * d + member + i * TEAM, from_float<T>(sums[i]));
        }
    }
}

// The gradients of the keys and the values of a key head, of all query heads that use it. A tile has QUERIES keys here.
template <typename T>
FT_DEVICE void attention_keys(const T *dout, const T *qkv, const float *lse, const float *delta, const uint32_t *tiles,
                              T *dqkv, Spec spec) {
    const int d = spec.head_dim, pitch = spec.head_dim + 1, kv = blockIdx.y, group = spec.heads / spec.kv_heads;
    float *k = reinterpret_cast<float *>(shared_memory()), *v = k + QUERIES * pitch, *q = v + QUERIES * pitch;
    float *up = q + KEYS * pitch, *weights = up + KEYS * pitch, *slopes = weights + QUERIES * KEYS;
    const Tile tile = tile_of(tiles);
    const int stride = spec.row();
    const T *sequence = qkv + static_cast<uint64_t>(tile.start) * stride;
    bring(k, sequence + (spec.heads + kv) * d, stride, tile.first, QUERIES, tile.length, d);
    bring(v, sequence + (spec.heads + spec.kv_heads + kv) * d, stride, tile.first, QUERIES, tile.length, d);
    const int row = threadIdx.x / TEAM, member = threadIdx.x % TEAM, place = tile.first + row;
    float of_key[OWN] = {}, of_value[OWN] = {};
    // The last query that sees one of the tile's keys.
    const int last_key = tile.first + QUERIES - 1;
    const int end = spec.window == 0 || tile.length - last_key < spec.window ? tile.length : last_key + spec.window;
    for (int head = kv * group; head < (kv + 1) * group; ++head) {
        for (int at = tile.first / KEYS * KEYS; at < end; at += KEYS) {
            bring(q, sequence + head * d, stride, at, KEYS, tile.length, d);
            bring(up, dout + (static_cast<uint64_t>(tile.start) * spec.heads + head) * d, spec.heads * d, at, KEYS,
                  tile.length, d);
            sync();
            for (int query = member; query < KEYS; query += TEAM) {
                float p = 0.0f, ds = 0.0f;
                if (at + query < tile.length && spec.sees(at + query, place)) {
                    const uint64_t number = (tile.start + static_cast<uint64_t>(at + query)) * spec.heads + head;
                    pair(spec, dot(q + query * pitch, k + row * pitch, d), dot(up + query * pitch, v + row * pitch, d),
                         load(lse + number), load(delta + number), p, ds);
                }
                weights[row * KEYS + query] = p;
                slopes[row * KEYS + query] = ds;
            }
            sync();
            for (int query = 0; query < KEYS; ++query) {
                const float p = weights[row * KEYS + query], ds = slopes[row * KEYS + query];
#pragma unroll
                for (int i = 0; i < OWN; ++i) {
                    if (member + i * TEAM < d) {
                        of_key[i] += ds * q[query * pitch + member + i * TEAM];
                        of_value[i] += p * up[query * pitch + member + i * TEAM];
                    }
                }
            }
            sync();
        }
    }
    if (place >= tile.length) {
        return;
    }
    T *to = dqkv + (tile.start + static_cast<uint64_t>(place)) * stride + (spec.heads + kv) * d;
#pragma unroll
    for (int i = 0; i < OWN; ++i) {
        if (member + i * TEAM < d) {
            store(to + member + i * TEAM, from_float<T>(of_key[i]));
            store(to + spec.kv_heads * d + member + i * TEAM, from_float<T>(of_value[i]));
        }
    }
}

#define FT_ATTENTION(T, suffix)                                                                                         \
    extern "C" __global__ void __launch_bounds__(THREADS, 1)                                                               \
        ft_attention_##suffix(const T *qkv, const uint32_t *tiles, T *out, float *lse, int heads, int kv_heads,        \
                              int head_dim, float scale, int window, float cap) {                                      \
        attention(qkv, tiles, out, lse, Spec{heads, kv_heads, head_dim, scale, window, cap});                          \
    }                                                                                                                  \
    FT_KERNEL(ft_attention_##suffix)                                                                                   \
    extern "C" __global__ void ft_attention_delta_##suffix(const T *dout, const T *out, float *delta, uint32_t rows,    \
                                                           int head_dim) {                                             \
        attention_delta(dout, out, delta, rows, head_dim);                                                             \
    }                                                                                                                  \
    FT_KERNEL(ft_attention_delta_##suffix)                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS, 1)                                                               \
        ft_attention_queries_##suffix(const T *dout, const T *qkv, const float *lse, const float *delta,               \
                                      const uint32_t *tiles, T *dqkv, int heads, int kv_heads, int head_dim,           \
                                      float scale, int window, float cap) {                                            \
        attention_queries(dout, qkv, lse, delta, tiles, dqkv, Spec{heads, kv_heads, head_dim, scale, window, cap});    \
    }                                                                                                                  \
    FT_KERNEL(ft_attention_queries_##suffix)                                                                           \
    extern "C" __global__ void __launch_bounds__(THREADS, 1)                                                               \
        ft_attention_keys_##suffix(const T *dout, const T *qkv, const float *lse, const float *delta,                  \
                                   const uint32_t *tiles, T *dqkv, int heads, int kv_heads, int head_dim, float scale, \
                                   int window, float cap) {                                                            \
        attention_keys(dout, qkv, lse, delta, tiles, dqkv, Spec{heads, kv_heads, head_dim, scale, window, cap});       \
    }                                                                                                                  \
    FT_KERNEL(ft_attention_keys_##suffix)

FT_ATTENTION(float, f32)
FT_ATTENTION(bf16, bf16)
FT_ATTENTION(f16, f16)
