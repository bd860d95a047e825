// Philox4x32-10 (J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), as philox.rs draws it.
#pragma once

#include "device.cuh"

// The four words of a block of the stream with this key and nonce.
FT_DEVICE void philox(uint64_t block, const uint32_t (&stream)[4], uint32_t (&c)[4]) {
    c[0] = static_cast<uint32_t>(block);
    c[1] = static_cast<uint32_t>(block >> 32);
    c[2] = stream[2];
    c[3] = stream[3];
    uint32_t k0 = stream[0], k1 = stream[1];
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const uint32_t a_high = mul_high(0xD2511F53u, c[0]), a_low = 0xD2511F53u * c[0];
        const uint32_t b_high = mul_high(0xCD9E8D57u, c[2]), b_low = 0xCD9E8D57u * c[2];
        c[0] = b_high ^ c[1] ^ k0;
        c[2] = a_high ^ c[3] ^ k1;
        c[1] = b_low;
        c[3] = a_low;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}
