// Dropout of rows: y = x times a factor that is 0, or `kept`, as word i of the sequence's stream says of the sequence's
// element i. The words and their order are those of philox.rs: groups of 64 from 16 blocks, the first words of the blocks,
// then the second, the third and the fourth ones.
//
// blockIdx.y is the sequence (up to 65535), its rows starts[s] to starts[s + 1] of `columns` f32, bf16 or f16; streams are
// four words a sequence, key and nonce. Threads of blockIdx.x make one block's four words each, and those that a longer
// sequence needs leave again.

#include "philox.cuh"

FT_MODULE(dropout)

template <typename T>
FT_DEVICE void dropout(const T *x, T *y, const uint32_t *starts, const uint32_t *streams, int columns, uint32_t threshold,
                       float kept) {
    constexpr uint32_t WIDTH = 16;
    const uint64_t begin = static_cast<uint64_t>(load(starts + blockIdx.y)) * columns;
    const uint64_t len = static_cast<uint64_t>(load(starts + blockIdx.y + 1)) * columns - begin;
    const uint64_t block = static_cast<uint64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    const uint64_t first = block / WIDTH * (4 * WIDTH) + block % WIDTH;
    if (first >= len) {
        return;
    }
    uint32_t stream[4], words[4];
    for (int i = 0; i < 4; ++i) {
        stream[i] = load(streams + blockIdx.y * 4 + i);
    }
    philox(block, stream, words);
    for (int word = 0; word < 4; ++word) {
        const uint64_t i = first + word * WIDTH;
        if (i < len) {
            const float factor = words[word] >= threshold ? kept : 0.0f;
            store(y + begin + i, from_float<T>(to_float(load(x + begin + i)) * factor));
        }
    }
}

#define FT_DROPOUT(T, suffix)                                                                                           \
    extern "C" __global__ void ft_dropout_##suffix(const T *x, T *y, const uint32_t *starts, const uint32_t *streams,   \
                                                   int columns, uint32_t threshold, float kept) {                      \
        dropout(x, y, starts, streams, columns, threshold, kept);                                                      \
    }                                                                                                                  \
    FT_KERNEL(ft_dropout_##suffix)

FT_DROPOUT(float, f32)
FT_DROPOUT(bf16, bf16)
FT_DROPOUT(f16, f16)
