// Causal attention of sequences laid end to end: what its kernels are given.
//
// A row of qkv is the queries, the keys and the values of a token: (heads + 2 kv_heads) head_dim columns. Query head h uses
// key head h / (heads / kv_heads). A token sees itself and those before it in its sequence, `window` in all (0: all). With
// s = cap tanh(scale q k / cap) (cap 0: scale q k) the result is softmax(s) v, and lse [tokens, heads] is log(sum(e^s)).
//
// A tile is four words: its sequence's first row and length, its own first token in the sequence, and nothing.
#pragma once

#include "rows.cuh"

struct Spec {
    int heads, kv_heads, head_dim;
    float scale;
    int window;
    float cap;

    FT_DEVICE int row() const { return (heads + 2 * kv_heads) * head_dim; }
    // Whether query `q` sees key `k`.
    FT_DEVICE bool sees(int q, int k) const { return k <= q && (window == 0 || q - k < window); }
    FT_DEVICE float score(float product) const {
        return cap == 0.0f ? product * scale : cap * tanhf(product * scale / cap);
    }
    // The score's slope for the product, from the score.
    FT_DEVICE float slope(float score) const {
        return cap == 0.0f ? scale : scale * (1.0f - (score / cap) * (score / cap));
    }
};

struct Tile {
    uint32_t start;
    int length, first;
};

FT_DEVICE Tile tile_of(const uint32_t *tiles) {
    const uint32_t *own = tiles + static_cast<uint64_t>(blockIdx.x) * 4;
    return {load(own), static_cast<int>(load(own + 1)), static_cast<int>(load(own + 2))};
}
