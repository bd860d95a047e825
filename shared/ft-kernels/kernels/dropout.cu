// Dropout of one sequence's rows on a GPU: y = x times a factor that is 0, or `kept`, as word number i
// of the sequence's stream says of element i. The words and their order are those of philox.rs: groups
// of 64 from 16 blocks, the first words of the blocks, then the second, the third and the fourth ones.

#include <cstdint>

constexpr unsigned WIDTH = 16;

extern "C" __global__ void ft_dropout(const float *x, float *y, uint64_t len, uint32_t key0, uint32_t key1,
                                      uint32_t nonce0, uint32_t nonce1, uint32_t threshold, float kept) {
    // A thread makes one block's four words.
    const uint64_t block = static_cast<uint64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    const uint64_t first = block / WIDTH * (4 * WIDTH) + block % WIDTH;
    if (first >= len) {
        return;
    }
    uint32_t c[4] = {static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), nonce0, nonce1};
    uint32_t k0 = key0, k1 = key1;
    for (int round = 0; round < 10; ++round) {
        const uint32_t a_high = __umulhi(0xD2511F53u, c[0]), a_low = 0xD2511F53u * c[0];
        const uint32_t b_high = __umulhi(0xCD9E8D57u, c[2]), b_low = 0xCD9E8D57u * c[2];
        c[0] = b_high ^ c[1] ^ k0;
        c[2] = a_high ^ c[3] ^ k1;
        c[1] = b_low;
        c[3] = a_low;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    for (int word = 0; word < 4; ++word) {
        const uint64_t i = first + word * WIDTH;
        if (i < len) {
            y[i] = x[i] * (c[word] >= threshold ? kept : 0.0f);
        }
    }
}
